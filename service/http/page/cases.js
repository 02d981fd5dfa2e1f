// Similar cases: the strip of those found, and one of them with its report.

import * as service from "./service.js";
import { counts, lines, marks } from "./compared.js";
import { byId, counted, make } from "./elements.js";
import { reportText } from "./report.js";

const KINDS = { image: "image", concept: "findings", text: "words" };
const SIMILARITIES = {
  image: "cosine of image vectors",
  concept: "findings shared, from 0 to 1 by weight",
  text: "words shared, BM25",
};
const THUMBNAIL = 160;

/** Every case found, as buttons; `open` is called with a place in the list. */
export function showStrip(cases, open) {
  byId("strip").replaceChildren(...cases.map((retrieved, at) => entry(retrieved, at, open)));
}

/** Mark which of them is open. */
export function markOpen(at) {
  for (const [place, item] of [...byId("strip").children].entries()) {
    const button = item.firstElementChild;
    if (place === at) {
      button.setAttribute("aria-current", "true");
      item.scrollIntoView({ block: "nearest", inline: "nearest" });
    } else button.removeAttribute("aria-current");
  }
}

function entry(retrieved, at, open) {
  const { case: found, comparison } = retrieved;
  const compared = comparison && counts(comparison);
  const picture = thumbnail(found, nearestImage(retrieved));
  return make("li", {},
    make("button", { type: "button", class: "found", on: { click: () => open(at) } },
      picture,
      make("span", { class: "about" },
        make("b", {}, `${retrieved.rank}`, at < 9 ? make("kbd", { "aria-hidden": "true" }, `${at + 1}`) : null),
        make("span", { class: "id" }, found.case_id),
        make("span", { class: "quiet" }, places(retrieved)),
        compared && make("span", { class: "counts" },
          make("span", { class: "shared" }, `= ${compared.shared} shared`),
          make("span", { class: compared.against ? "against" : "quiet" }, `≠ ${compared.against} against`)))));
}

/** Which image of the case is most like one of the study's. */
export function nearestImage({ matched }) {
  return matched.length ? matched.reduce((best, pair) => (pair[2] > best[2] ? pair : best))[1] : 0;
}

/** Where each way of finding has it. */
function places({ found_by: by }) {
  return by.map(({ leg, rank }) => `${KINDS[leg]} #${rank}`).join(" · ");
}

/** A small picture of a case, drawn when it has come; an empty one where images of cases are not shown. */
export function thumbnail(found, number) {
  const canvas = make("canvas", { class: "thumbnail", width: THUMBNAIL, height: THUMBNAIL, "aria-hidden": "true" });
  service
    .imageOfCase(found.case_id, number, { longest: THUMBNAIL })
    .then(createImageBitmap)
    .then((bitmap) => {
      const { width, height } = bitmap;
      canvas.getContext("2d").drawImage(bitmap, (THUMBNAIL - width) / 2, (THUMBNAIL - height) / 2);
    })
    .catch(() => canvas.classList.add("missing"));
  return canvas;
}

/** One case in words: whose it is not, what it shares, and its report. */
export function showCase(root, retrieved, asStudy) {
  const { case: found, comparison } = retrieved;
  const about = [
    found.sex && { F: "female", M: "male", O: "other sex" }[found.sex],
    found.age_band && `aged ${found.age_band.replace("-", "–")}`,
    counted(found.images.length, "image"),
  ];
  const origin = [found.source, found.licence, found.attribution].filter(Boolean).join(" · ");
  root.replaceChildren(
    make("h3", {}, found.case_id),
    make("p", { class: "quiet" }, `Another patient: ${about.filter(Boolean).join(", ")}. ${origin}`),
    make("p", { class: "quiet", title: byLegs(retrieved) }, whence(retrieved)),
    comparison ? compared(comparison) : make("p", { class: "note" }, notCompared(found)),
    reportText(found.report, marks(retrieved)),
    found.labels.length ? make("p", { class: "quiet" }, `Coded by its source: ${found.labels.join(", ")}.`) : "",
    make("button", { type: "button", class: "plain", on: { click: () => asStudy(found.case_id) } },
      "Take this case as the study"),
  );
}

function whence(retrieved) {
  return retrieved.found_by?.length ? `Found by ${places(retrieved)}.` : "Opened by its name.";
}

function byLegs({ found_by: by = [] }) {
  return by.map(({ leg, similarity }) => `${KINDS[leg]}: ${similarity.toFixed(3)} (${SIMILARITIES[leg]})`).join("; ");
}

function notCompared({ concepts }) {
  return concepts ? "Not compared in findings by this search." : "Nobody has read this report for its findings.";
}

function compared(comparison) {
  return make("dl", { class: "compared" }, lines(comparison).map(({ kind, title, items }) =>
    make("div", { class: kind },
      make("dt", {}, title),
      make("dd", {}, items.map(({ sign, text }) =>
        make("span", { class: "finding" }, make("b", { class: "sign" }, sign), ` ${text}`))))));
}
