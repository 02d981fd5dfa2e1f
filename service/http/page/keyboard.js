// Keys of the whole page. Nothing happens while somebody types, or with Ctrl, Alt or Meta held.

const TYPES = "input:not([type=range]):not([type=checkbox]):not([type=radio]), textarea, select, dialog[open] *";

/** Call `actions[key]` for a key; digits call `actions.digit` with their number. */
export function listen(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    if (event.key === "Escape") return actions.Escape?.();
    if (event.target.closest?.(TYPES)) return;
    const digit = /^[1-9]$/.test(event.key);
    const action = digit ? () => actions.digit(Number(event.key)) : actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
