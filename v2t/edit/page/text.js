// Captions as text: what a person cannot see is shown, and two texts are compared word by word. Pure.

// Controls but the line feed, marks that turn the direction of writing, and characters without width.
const UNSEEN = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu;

function code(character) {
  return `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}

/** A text in which unseen characters are named, so that none of them can disguise another. */
export function visible(text) {
  return text.replace(UNSEEN, (character) => (character === "\t" ? " " : `[${code(character)}]`));
}

/** Which unseen characters a text holds, each once. @returns {string[]} */
export function unseen(text) {
  return [...new Set(text.match(UNSEEN) ?? [])].filter((character) => character !== "\t" && character !== "\r").map(code);
}

/** What a text field makes of a text: it knows one kind of line end. */
export function inField(text) {
  return text.replace(/\r\n?/g, "\n");
}

/** The pieces of `after` with what was there `before`: `{text, kind}`, kind "", "out" or "in", around the changes. */
export function difference(before, after, around = 40) {
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start += 1;
  let end = 0;
  while (end < Math.min(before.length, after.length) - start && before.at(-1 - end) === after.at(-1 - end)) end += 1;
  const head = before.slice(Math.max(0, start - around), start);
  const tail = before.slice(before.length - end, before.length - end + around);
  return [
    { kind: "", text: (start > around ? "…" : "") + head },
    { kind: "out", text: before.slice(start, before.length - end) },
    { kind: "in", text: after.slice(start, after.length - end) },
    { kind: "", text: tail + (end > around ? "…" : "") },
  ].filter((piece) => piece.text);
}
