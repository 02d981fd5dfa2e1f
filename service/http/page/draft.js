// The draft as sentence cards: as it is told, and as it stands.

import { byId, counted, make, sentence } from "./elements.js";

const MARK = "DRAFT for a radiologist to edit and sign. Not a report, not for clinical use.";
const SECTIONS = { findings: "Findings", impression: "Impression" };
const FLAG_SIGNS = { hard: "!!", soft: "!" };
const FLAG_WORDS = { hard: "wrong unless explained", soft: "worth a look" };

/** Cards of a draft that is still written: a sentence is added, or struck out when it is withdrawn. */
export class Telling {
  constructor(root, open) {
    this.root = root;
    this.open = open;
    this.cards = new Map();
    this.list = make("ol", { class: "cards", "aria-live": "polite" });
    root.replaceChildren(banner(), this.list);
  }

  /** Show one event of the stream. */
  hear({ event, number, sentence: said }) {
    if (event === "withdrawn") {
      const card = this.cards.get(number);
      if (!card) return;
      card.classList.add("withdrawn");
      card.querySelector(".said").replaceChildren(make("s", {}, said.text), make("em", {}, " withdrawn by a check"));
      return;
    }
    const card = cardOf(said, this.open);
    this.cards.set(number, card);
    this.list.append(card);
  }
}

/** The finished draft, or why there is none. `open` shows a case by its id. */
export function showDraft(root, draft, open) {
  const parts = draft.warnings.map((warning) => make("p", { class: "note" }, `Note: ${warning}.`));
  if (draft.fallback) {
    const why = `No language model wrote this (${draft.fallback}): it is made of similar cases.`;
    parts.push(make("p", { class: "note" }, why));
  }
  if (draft.status === "abstained") {
    parts.unshift(nothing("No draft", draft.reason, draft.explanation));
    root.replaceChildren(...parts, ...leftOut(draft));
    return;
  }
  const shown = [banner()];
  for (const [section, title] of Object.entries(SECTIONS)) {
    const said = draft.sentences.filter((each) => each.section === section);
    if (!said.length) continue;
    shown.push(make("h3", {}, title), make("ol", { class: "cards" }, said.map((each) => cardOf(each, open))));
  }
  root.replaceChildren(...shown, ...parts, ...leftOut(draft), provenance(draft));
}

/** A refusal that is an answer: what, its code, and why. */
export function nothing(title, code, why) {
  return make("div", { class: "nothing" },
    make("h3", {}, title),
    make("p", {}, sentence(why)),
    make("p", { class: "quiet" }, "Reason ", make("code", {}, code ?? "unknown")));
}

/** The draft as text to take along, with its mark. */
export function textOf(draft) {
  const parts = Object.entries(SECTIONS).map(([section, title]) => {
    const said = draft.sentences.filter((each) => each.section === section).map(({ text }) => text);
    return said.length ? `${title.toUpperCase()}: ${said.join(" ")}` : "";
  });
  return [MARK, ...parts.filter(Boolean)].join("\n\n");
}

/** Put text on the clipboard; where the browser has none to give, show it for copying by hand. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return "Copied, with the mark that it is a draft.";
  } catch {
    byId("copied-text").value = text;
    byId("copying").showModal();
    byId("copied-text").select();
    return "Select and copy the text.";
  }
}

function banner() {
  return make("p", { class: "banner" }, make("strong", {}, "DRAFT"), MARK.slice("DRAFT".length));
}

function cardOf(said, open) {
  const abnormal = said.abnormal
    ? make("span", { class: "abnormal", title: "states something abnormal" }, "abnormal")
    : make("span", { class: "normal" }, "normal");
  return make("li", { class: said.abnormal ? "card is-abnormal" : "card" },
    make("p", { class: "said" }, said.text),
    make("p", { class: "what" }, abnormal, ` · ${said.topic}`),
    support(said.support, open),
    said.flags.map(flag));
}

function support({ case_ids: cases, of, experts, prior }, open) {
  const links = cases.map((id) =>
    make("button", { type: "button", class: "link", title: `open case ${id}`, on: { click: () => open(id) } }, id));
  const first = links.slice(0, 4);
  const rest = links.slice(4);
  const said = of || cases.length ? `${cases.length} of ${counted(of, "similar case")}` : "no similar case";
  return make("div", { class: "support" },
    make("span", {}, `Rests on ${said}`, cases.length ? ": " : ""),
    first,
    rest.length ? make("details", {}, make("summary", {}, `${rest.length} more`), rest) : null,
    experts.map((expert) => make("span", { class: "expert" }, `expert ${expert}`)),
    prior ? make("span", { class: "expert" }, "an earlier study") : null);
}

function flag({ code, severity, explanation }) {
  return make("p", { class: `flag ${severity}` },
    make("b", { class: "sign", "aria-hidden": "true" }, FLAG_SIGNS[severity]),
    make("span", {}, `${FLAG_WORDS[severity]}: ${explanation} `, make("code", {}, code)));
}

function leftOut({ dropped }) {
  const codes = Object.entries(dropped).map(([code, count]) => `${count} for ${code}`);
  return codes.length ? [make("p", { class: "quiet" }, `Left out by the checks: ${codes.join(", ")}.`)] : [];
}

function provenance({ drafter, software, writing, evidence }) {
  const wrote = writing ? `, ${writing.language_model} by preset ${writing.preset.name}` : "";
  return make("p", { class: "quiet" }, `${drafter}${wrote}, Prelim ${software}, snapshot ${evidence.index_snapshot}.`);
}
