// What to search for beside the study, and which cases to keep: a form to a request, and back to words.

import { byId, make } from "./elements.js";
import { findings } from "./compared.js";

const BANDS = [...Array.from({ length: 9 }, (_, ten) => `${10 * ten}-${10 * ten + 9}`), "90+"];
const SEXES = { F: "women", M: "men", O: "other sex" };
const sources = new Set();

const form = () => byId("filters");
const listed = (text) => text.split(",").map((each) => each.trim()).filter(Boolean);

/** Fill the form's lists and call `changed` when somebody asks for something else. */
export function prepare(changed) {
  byId("band").append(...BANDS.map((band) => make("option", { value: band }, band.replace("-", "–"))));
  byId("finding-names").append(...findings().map((name) => make("option", { value: name })));
  form().addEventListener("submit", (event) => {
    event.preventDefault();
    changed();
  });
  form().addEventListener("reset", () => setTimeout(changed));
}

/** Collections that cases came from, so that they can be chosen. */
export function know(cases) {
  for (const { source } of cases) {
    if (sources.has(source)) continue;
    sources.add(source);
    byId("source").append(make("option", { value: source }, source));
  }
}

/** What the form asks for, as a search request has it. */
export function request() {
  const given = Object.fromEntries(new FormData(form()));
  return {
    ...(given.text.trim() ? { text: given.text.trim() } : {}),
    ...(given.findings.trim() ? { findings: listed(given.findings) } : {}),
    ...(given.sex ? { sex: given.sex } : {}),
    ...(given.band ? { age_bands: [given.band] } : {}),
    ...(given.source ? { sources: [given.source] } : {}),
    ...(given.group ? { views: [given.group] } : {}),
  };
}

/** The same in a few words; empty when nothing is asked for. */
export function inWords(asked) {
  return [
    asked.text && `“${asked.text}”`,
    asked.findings?.join(", "),
    asked.sex && SEXES[asked.sex],
    asked.age_bands && `aged ${asked.age_bands[0].replace("-", "–")}`,
    asked.sources && asked.sources[0],
    asked.views && `with a ${asked.views[0]} view`,
  ].filter(Boolean).join(" · ");
}
