// Keys of the editor. Single letters work wherever no text is typed; in a text field Escape leaves it.
// Each: what to press as shown, a test of the event, what it does in words, what it does.

import { $ } from "./dom.js";

const plain = (...names) => (event) => !event.ctrlKey && !event.metaKey && !event.altKey && names.includes(event.key);

/** [shown keys, test, words, action] */
export const KEYS = [
  [["j", "n", "↓"], plain("j", "n", "ArrowDown"), "next clip", (editor) => editor.move(1)],
  [["k", "p", "↑"], plain("k", "p", "ArrowUp"), "previous clip", (editor) => editor.move(-1)],
  [["Shift+N"], plain("N"), "next clip that was not seen", (editor) => editor.nextUnseen()],
  [["PgDn", "PgUp"], plain("PageDown", "PageUp"), "ten clips on or back", (editor, event) => editor.move(event.key === "PageDown" ? 10 : -10)],
  [["a"], plain("a"), "accept, and go on", (editor) => editor.judge("accept")],
  [["r"], plain("r"), "reject, and go on", (editor) => editor.judge("reject")],
  [["l"], plain("l"), "needs a look, and go on", (editor) => editor.judge("look")],
  [["e", "Enter"], plain("e", "Enter"), "edit the caption", (editor) => editor.form.focus()],
  [["2", "…", "9"], plain(..."23456789"), "choose that one of several captions", (editor, event) => editor.form.choose(Number(event.key) - 1)],
  [["g"], plain("g"), "ask the model again", (editor) => editor.ask()],
  [["t"], plain("t"), "tags", () => $("tags").focus()],
  [["u"], plain("u"), "undo", (editor) => editor.undo()],
  [["Shift+U"], plain("U"), "do again what was undone", (editor) => editor.undo(true)],
  [["space"], plain(" "), "play or pause", (editor) => editor.player.toggle()],
  [[",", "."], plain(",", "."), "one frame back or on", (editor, event) => editor.player.step(event.key === "," ? -1 : 1)],
  [["m"], plain("m"), "sound on or off", (editor) => editor.player.mute()],
  [["/"], plain("/"), "filter by words", () => $("words").select()],
  [["Shift+F"], plain("F"), "find and replace", (editor) => editor.replace()],
  [["?"], plain("?"), "these keys", (editor) => editor.help()],
  [["Ctrl+S"], () => false, "save, also in a text field", () => {}],
  [["Ctrl+Enter"], () => false, "save, accept and go on, also in a text field", () => {}],
  [["Esc"], () => false, "leave a text field; the caption is saved", () => {}],
];

const TYPED = "textarea, select, input:not([type=range], [type=checkbox])";

/** Follows the keys for an editor. */
export function listen(editor) {
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const isTyped = event.target.matches(TYPED);
    const isControl = event.ctrlKey || event.metaKey;
    if (isControl && event.key.toLowerCase() === "s") {
      editor.save();
    } else if (isControl && event.key === "Enter") {
      leave();
      if (editor.form.captions.length && editor.current.review === "accepted") {
        editor.save({ isQuiet: true });
        editor.move(1);
      } else {
        editor.judge("accept");
      }
    } else if (event.key === "Escape" && isTyped) {
      editor.save({ isQuiet: true });
      leave();
    } else if (event.key === "Escape" && document.body.classList.contains("list-open")) {
      editor.toggleList(false);
    } else if (isTyped || (event.target.matches("input[type=range]") && /^(Arrow|Page)/.test(event.key))) {
      if (event.target.id === "tags" && event.key === "Enter") {
        editor.saveTags();
        leave();
      } else if (event.target.id === "words" && event.key === "Enter") {
        leave();
      } else {
        return;
      }
    } else if (event.target.matches("button, summary, a") && (event.key === " " || event.key === "Enter")) {
      return;
    } else {
      const key = KEYS.find(([, test]) => test(event));
      if (!key) return;
      key[3](editor, event);
    }
    event.preventDefault();
  });
}

/** Out of the text field, to the list. */
function leave() {
  ($("list").checkVisibility() ? $("list") : $("name")).focus({ preventScroll: true });
}
