// A report as text with marks in it. A report may hold anything; it is never anything but text here.

import { make } from "./elements.js";

const STRONGEST = ["only", "shared", "against"];
const HEADING = "heading";

/** The whole report: headings strong, marked words in `mark` elements with what they mean. */
export function reportText(report, marks) {
  // Places are counted in characters as the service counts them, which JavaScript's own strings do not.
  const characters = Array.from(report.text);
  const owners = new Array(characters.length).fill(null);
  const headings = report.sections.filter(({ heading }) => heading);
  for (const { start, heading } of headings) {
    const length = Array.from(heading).length;
    if (characters.slice(start, start + length).join("") === heading) {
      owners.fill({ kind: HEADING }, start, start + length);
    }
  }
  for (const mark of [...marks].sort((a, b) => STRONGEST.indexOf(a.kind) - STRONGEST.indexOf(b.kind))) {
    owners.fill(mark, mark.start, mark.end);
  }
  const shown = make("div", { class: "report", lang: "en" });
  for (let at = 0; at < characters.length; ) {
    let end = at + 1;
    while (end < characters.length && owners[end] === owners[at]) end++;
    shown.append(stretch(characters.slice(at, end).join(""), owners[at]));
    at = end;
  }
  return shown;
}

function stretch(text, owner) {
  if (owner === null) return text;
  if (owner.kind === HEADING) return make("strong", {}, text);
  return make("mark", { class: owner.kind, "data-sign": owner.sign, title: owner.title }, text);
}
