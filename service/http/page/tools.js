// The two panes and the tools above them: how both images are looked at, together or each by itself.

import { byId } from "./elements.js";
import { Pane, Sight } from "./viewer.js";

const STEP = 1.25;

const drag = () => document.querySelector("input[name=drag]:checked").value;
const together = new Sight();

/** The study's pane and the similar case's. */
export const panes = { study: new Pane(byId("study"), together, drag), case: new Pane(byId("case"), together, drag) };

/** White for black, and back. */
export const invert = () => both((sight) => sight.set({ invert: !sight.values.invert }));
/** Both images whole, with all of their greys. */
export const reset = () => both((sight) => sight.reset());
/** Nearer. */
export const zoomIn = () => zoom(STEP);
/** Farther. */
export const zoomOut = () => zoom(1 / STEP);

/** Let the tools do what they say. */
export function arrange() {
  for (const [id, action] of Object.entries({ invert, reset, "zoom-in": zoomIn, "zoom-out": zoomOut })) {
    byId(id).addEventListener("click", action);
  }
  byId("level").addEventListener("input", ({ target }) => both((sight) => sight.set({ centre: Number(target.value) })));
  byId("width").addEventListener("input", ({ target }) => both((sight) => sight.set({ width: Number(target.value) })));
  byId("linked").addEventListener("change", ({ target }) => link(target.checked));
  together.addEventListener("change", mirrored);
}

function link(linked) {
  panes.study.look(together);
  panes.case.look(linked ? together : new Sight(together.values));
}

function both(change) {
  for (const sight of new Set([panes.study.sight, panes.case.sight])) change(sight);
}

function zoom(factor) {
  const focused = Object.values(panes).find(({ canvas }) => canvas === document.activeElement);
  const pane = focused ?? (panes.study.image ? panes.study : panes.case);
  pane.zoom(factor);
}

function mirrored() {
  const { centre, width, invert: inverted } = together.values;
  byId("level").value = centre;
  byId("width").value = width;
  byId("invert").setAttribute("aria-pressed", String(inverted));
}
