// The page: what is on it now, and what happens when somebody does something. Each part is in the module named after it.

import * as service from "./service.js";
import { markOpen, nearestImage, showCase, showStrip, thumbnail } from "./cases.js";
import { learn } from "./compared.js";
import { copy, nothing, showDraft, Telling, textOf } from "./draft.js";
import { byId, counted, make, sentence, tell } from "./elements.js";
import { eventsOf } from "./events.js";
import * as filters from "./filters.js";
import { listen } from "./keyboard.js";
import { reportText } from "./report.js";
import { decoded, examples, studyOfCase, studyOfFiles } from "./study.js";
import * as tools from "./tools.js";

const LARGEST_CASE = 2048; // pixels of a case's longer side; the study is shown whole
const KEPT_IMAGES = 12;

const now = { study: null, cases: [], at: -1, open: null, draft: null, drafting: null, searching: null };
const images = new Map(); // of cases, the last few

// 1. What the service is.

async function begin() {
  const [able, concepts] = await Promise.all([service.capabilities(), service.conceptNames()]);
  learn(concepts);
  filters.prepare(search);
  const writes = able.language_model ? "drafts by a language model" : "drafts of similar cases’ sentences";
  byId("index").textContent = able.snapshot ? `${counted(able.cases, "case")} · ${writes}` : "nothing is indexed yet";
  const takeable = able.cases > 0 && able.images_of_cases;
  for (const each of document.querySelectorAll(".of-index")) each.hidden = !takeable;
  if (takeable) await offerExamples();
}

async function offerExamples() {
  const offered = await examples();
  filters.know(offered.map((each) => each.case));
  byId("examples").replaceChildren(...offered.map(({ case: found, finding }) =>
    make("li", {}, make("button", { type: "button", class: "example", on: { click: () => takeCase(found.case_id) } },
      thumbnail(found, 0), make("span", {}, finding), make("span", { class: "quiet" }, found.case_id)))));
}

// 2. The study.

const takeFiles = (files) => take((signal) => studyOfFiles(files, signal), counted(files.length, "image"));
const takeCase = (caseId) => take((signal) => studyOfCase(caseId, signal), caseId);

async function take(read, name) {
  tell(`Reading ${name} …`);
  const study = await guarded((signal) => read(signal), "searching");
  if (!study) return;
  now.study = study;
  forgetDraft();
  byId("start").hidden = true;
  byId("study-title").textContent = study.own ? `Study: ${study.own.case_id}` : "Study";
  byId("view").value = study.view;
  for (const id of ["write", "draft-now"]) byId(id).disabled = false;
  byId("own").hidden = !study.own;
  byId("own").open = false;
  if (study.own) byId("own-report").replaceChildren(reportText(study.own.report, []));
  tools.reset();
  choose("report");
  showStudyImage(0);
  await search();
}

function showStudyImage(number) {
  tools.panes.study.show(now.study.images[number]);
  numbers("study-images", now.study.images.map((_, at) => `${at + 1}`), number, showStudyImage);
}

/** Buttons for several images of one study; none for one. */
function numbers(id, labels, chosen, choose) {
  byId(id).replaceChildren(...(labels.length < 2 ? [] : labels.map((label, at) =>
    make("button", { type: "button", "aria-pressed": String(at === chosen), "aria-label": `Image ${label}`,
      on: { click: () => choose(at) } }, label))));
}

// 3. Similar cases.

async function search() {
  const asked = filters.request();
  byId("filtered").textContent = filters.inWords(asked) && `only: ${filters.inWords(asked)}`;
  if (!now.study && !asked.text && !asked.findings) return;
  // A study is compared in findings though a filter is set, so that reports can be marked; words say their own.
  const legs = now.study && !asked.text ? ["image", "concept"] : [];
  tell("Searching …");
  const found = await guarded((signal) =>
    now.study
      ? service.similarToStudy(now.study, { ...asked, legs }, signal)
      : service.similar(asked, signal), "searching");
  if (found) showFound(found, asked);
}

function showFound({ verdict, evidence, reason, explanation }, asked) {
  now.cases = evidence.cases;
  filters.know(now.cases.map((each) => each.case));
  const title = now.cases.length ? counted(now.cases.length, "similar case") : "Similar cases";
  byId("found-title").textContent = title;
  byId("notes").textContent = verdict.warnings.map((warning) => `Note: ${sentence(warning)}`).join(" ");
  byId("compared-with").textContent = evidence.concepts
    ? `Compared with ${now.study && !asked.text ? "what the cases nearest by image say together; no report of this study was read" : "what was asked for"}.`
    : "";
  showStrip(now.cases, open);
  byId("no-case").replaceChildren();
  if (now.cases.length) {
    tell(`${title} found.`);
    open(0);
    return;
  }
  const out = verdict.in_scope
    ? nothing("No close match", reason, explanation)
    : nothing("Out of scope", verdict.reason, verdict.explanation);
  if (verdict.in_scope && filters.inWords(asked)) {
    out.append(make("p", {}, "Fewer filters may keep something that is like it."));
  }
  close();
  byId("no-case").replaceChildren(out);
  tell(verdict.in_scope ? "No close match." : "Out of scope.");
}

function open(at) {
  if (at < 0 || at >= now.cases.length) return;
  now.at = at;
  markOpen(at);
  show(now.cases[at]);
  if (now.cases[at + 1]) imageOf(now.cases[at + 1], nearestImage(now.cases[at + 1])).catch(() => {});
}

/** Open a case that a draft names: the one of the list where it is there, with how it compares. */
async function openNamed(caseId) {
  const at = now.cases.findIndex((each) => each.case.case_id === caseId);
  if (at >= 0) {
    open(at);
  } else {
    const found = await guarded(() => service.caseOf(caseId));
    if (!found) return;
    now.at = -1;
    markOpen(-1);
    show({ case: found, matched: [], found_by: [], comparison: null });
  }
  choose("report");
}

function show(retrieved) {
  now.open = retrieved;
  const place = retrieved.rank ? `${retrieved.rank} of ${now.cases.length}: ` : "";
  byId("case-title").textContent = `Similar case ${place}${retrieved.case.case_id}`;
  showCase(byId("of-case"), retrieved, takeCase);
  byId("report").scrollTop = 0;
  showCaseImage(nearestImage(retrieved));
}

function close() {
  Object.assign(now, { at: -1, open: null });
  byId("case-title").textContent = "Similar case";
  byId("of-case").replaceChildren();
  byId("case-images").replaceChildren();
  tools.panes.case.show(null);
}

async function showCaseImage(number) {
  const retrieved = now.open;
  numbers("case-images", retrieved.case.images.map(({ view }, at) => `${at + 1} ${view}`), number, showCaseImage);
  tools.panes.case.canvas.setAttribute("aria-busy", "true");
  try {
    const image = await imageOf(retrieved, number);
    if (now.open !== retrieved) return;
    tools.panes.case.show(image);
    byId("no-case").replaceChildren();
  } catch (problem) {
    if (now.open !== retrieved) return;
    tools.panes.case.show(null);
    byId("no-case").replaceChildren(make("div", { class: "nothing" },
      make("h3", {}, "No image"), make("p", {}, sentence(problem.detail || problem.message)),
      make("p", { class: "quiet" }, sentence(problem.fix || ""))));
  } finally {
    tools.panes.case.canvas.removeAttribute("aria-busy");
  }
}

function imageOf({ case: found }, number) {
  const name = JSON.stringify([found.case_id, number]);
  const coming = images.get(name) ??
    service.imageOfCase(found.case_id, number, { bits: "16", longest: LARGEST_CASE }).then(decoded);
  images.delete(name);
  images.set(name, coming);
  coming.catch(() => images.delete(name));
  if (images.size > KEPT_IMAGES) images.delete(images.keys().next().value);
  return coming;
}

// 4. The draft.

async function draft() {
  choose("draft");
  if (!now.study || now.drafting || now.draft) return;
  await write();
}

async function write() {
  choose("draft");
  forgetDraft();
  const [study, told] = [now.study, byId("told")];
  drafting(true);
  tell("Drafting …");
  const telling = new Telling(told, openNamed);
  await guarded(async (signal) => {
    const stream = await service.draftOf(study, byId("indication").value, signal);
    for await (const { event, data } of eventsOf(stream)) {
      if (event === "error") throw new service.Problem(data);
      if (event !== "draft") telling.hear(data);
      else if (study === now.study) finish(data);
    }
    if (!now.draft && study === now.study) throw new service.Problem({ title: "The draft broke off", fix: "try again" });
  }, "drafting");
  if (study !== now.study || now.drafting) return; // another has begun
  drafting(false);
  if (!now.draft) told.replaceChildren(make("p", { class: "note" }, "There is no draft."));
}

function finish(finished) {
  now.draft = finished;
  showDraft(byId("told"), finished, openNamed);
  byId("copy").disabled = finished.status !== "drafted";
  tell(finished.status === "drafted" ? `Draft of ${counted(finished.sentences.length, "sentence")}.` : "No draft.");
}

function drafting(busy) {
  byId("stop").hidden = !busy;
  byId("write").disabled = busy;
  byId("write").textContent = now.draft ? "Draft again" : "Draft this study";
  byId("told").setAttribute("aria-busy", String(busy));
}

/** What was drafted belongs to another question. */
function forgetDraft() {
  stopDraft();
  now.draft = null;
  byId("told").replaceChildren();
  byId("copy").disabled = true;
}

function stopDraft() {
  if (!now.drafting) return;
  now.drafting.abort();
  now.drafting = null;
  drafting(false);
}

// 5. Asking, and what goes wrong.

/** What `work` gives; undefined where it failed, which is then said, or where something newer took its `place`. */
async function guarded(work, place = null) {
  const asking = new AbortController();
  if (place) {
    now[place]?.abort();
    now[place] = asking;
  }
  byId("problem").hidden = true;
  try {
    return await work(asking.signal);
  } catch (error) {
    if (error.name === "AbortError" || asking.signal.aborted) return undefined;
    complain(error);
    return undefined;
  } finally {
    if (place && now[place] === asking) now[place] = null;
  }
}

function complain(error) {
  const known = error instanceof service.Problem;
  if (known && (error.status === 401 || error.status === 403)) askForKey();
  const faults = known ? error.faults.map(({ field, what }) => `${field}: ${what}`) : [];
  const said = known ? [error.title, error.detail, ...faults, error.fix] : ["This page failed", error.message];
  byId("problem").replaceChildren(
    make("b", {}, "Problem "),
    said.filter((text, at) => text && said.indexOf(text) === at).map(sentence).join(" "),
    known && error.code ? make("code", {}, ` ${error.code}`) : "",
    make("button", { type: "button", on: { click: () => (byId("problem").hidden = true) } }, "Close"));
  byId("problem").hidden = false;
  tell("");
}

function askForKey() {
  byId("key-place").hidden = false;
  byId("key").focus();
}

function takeKey() {
  service.useKey(byId("key").value);
  byId("key").value = "";
  byId("key").placeholder = "in use until this page is closed";
  guarded(async () => {
    await offerExamples();
    if (now.study) await search();
    tell("The key is good.");
  });
}

// 6. What somebody does.

function choose(name) {
  for (const each of ["report", "draft"]) {
    byId(each).hidden = each !== name;
    byId(`tab-${each}`).setAttribute("aria-selected", String(each === name));
    byId(`tab-${each}`).tabIndex = each === name ? 0 : -1;
  }
}

function toggleFilters(shown = byId("filters").hidden) {
  byId("filters").hidden = !shown;
  byId("toggle-filters").setAttribute("aria-expanded", String(shown));
  if (shown) byId("filters").elements.text.focus();
  else byId("toggle-filters").focus();
}

function arrange() {
  const click = (id, action) => byId(id).addEventListener("click", () => action());
  click("toggle-filters", toggleFilters);
  click("draft-now", draft);
  click("write", write);
  click("stop", stopDraft);
  click("show-help", () => byId("help").showModal());
  click("use-key", takeKey);
  click("copy", async () => tell(await copy(textOf(now.draft))));
  for (const name of ["report", "draft"]) {
    click(`tab-${name}`, () => choose(name));
    byId(`tab-${name}`).addEventListener("keydown", ({ key }) => {
      if (key !== "ArrowLeft" && key !== "ArrowRight") return;
      const other = name === "report" ? "draft" : "report";
      choose(other);
      byId(`tab-${other}`).focus();
    });
  }
  byId("key").addEventListener("keydown", ({ key }) => key === "Enter" && takeKey());
  byId("view").addEventListener("change", ({ target }) => {
    if (!now.study) return;
    now.study.view = target.value;
    forgetDraft();
    search();
  });
  byId("by-id").addEventListener("submit", (event) => {
    event.preventDefault();
    const id = new FormData(event.target).get("id").trim();
    if (id) takeCase(id);
  });
  byId("choose").addEventListener("change", ({ target }) => {
    if (target.files.length) takeFiles([...target.files]);
    target.value = "";
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    if (event.dataTransfer.files.length) takeFiles([...event.dataTransfer.files]);
  });
  listen({
    j: () => open(now.at + 1),
    k: () => open(now.at - 1),
    digit: (number) => open(number - 1),
    d: draft,
    c: () => choose("report"),
    f: () => toggleFilters(),
    i: tools.invert,
    r: tools.reset,
    "+": tools.zoomIn,
    "=": tools.zoomIn,
    "-": tools.zoomOut,
    "?": () => byId("help").showModal(),
    Escape: () => {
      if (now.drafting) stopDraft();
      else if (!byId("filters").hidden) toggleFilters(false);
    },
  });
}

arrange();
tools.arrange();
guarded(begin);
