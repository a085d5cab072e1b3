// The captions of the clip on the screen, as text fields: one for each, the first is the clip's caption.
// In: a clip. Out: a "change" event when a person types; `captions` is what the fields hold. What is typed is kept in
// this browser until the server has it.

import { $, make } from "./dom.js";
import { inField, unseen } from "./text.js";

const DRAFTS = "cineloop.edit.drafts";
const KEEP_MS = 250;

export class CaptionForm extends EventTarget {
  #box = $("captions");
  #fields = [];
  #base = []; // what the fields held when the clip was shown
  #drafts;
  #timer = 0;
  clip = null;
  revision = 0;

  constructor(folder) {
    super();
    this.key = `${DRAFTS}.${folder}`;
    try {
      this.#drafts = JSON.parse(localStorage.getItem(this.key) ?? "{}") ?? {};
    } catch {
      this.#drafts = {}; // nothing was kept, or nothing that can be read
    }
  }

  /** Shows a clip; a draft of it comes back. @returns {boolean} whether there was one */
  show(clip, captions) {
    this.clip = clip;
    this.revision = clip.revision;
    this.#base = captions.length ? captions.map(inField) : [""];
    const draft = this.#drafts[clip.id];
    const isDraft = Array.isArray(draft?.captions) && draft.captions.every((text) => typeof text === "string");
    if (isDraft) this.revision = draft.revision;
    this.#fill(isDraft ? draft.captions : this.#base);
    return isDraft && this.isChanged;
  }

  #fill(captions) {
    this.#fields = captions.map((text, at) => this.#field(text, at));
    this.#number();
  }

  #field(text) {
    const field = make("textarea", { value: text, rows: 3, spellcheck: true, dir: "auto", oninput: () => this.#typed() });
    const box = make("div", { className: "caption-box" }, field, make("p", { className: "quiet unseen", hidden: true }), make("div", { className: "row of-caption" }));
    return { field, box };
  }

  /** Names the fields by their places, and gives those after the first their buttons. */
  #number() {
    this.#fields.forEach(({ field, box }, at) => {
      field.id = `caption-${at}`;
      field.setAttribute("aria-label", at ? `Caption ${at + 1}` : "Caption");
      box.classList.toggle("first", at === 0);
      box.lastChild.replaceChildren(...(this.#fields.length < 2 ? [] : at === 0
        ? [make("span", { className: "quiet" }, "the clip's caption")]
        : [
          make("button", { type: "button", title: `Make it the clip's caption (${at + 1})`, onclick: () => this.choose(at) }, "Choose ", make("kbd", {}, String(at + 1))),
          make("button", { type: "button", onclick: () => this.remove(at) }, "Remove"),
        ]));
    });
    this.#box.replaceChildren(...this.#fields.map(({ box }) => box));
    this.#mark();
  }

  #mark() {
    for (const { field, box } of this.#fields) {
      const codes = unseen(field.value);
      const note = box.children[1];
      note.hidden = !codes.length;
      note.textContent = codes.length ? `Holds characters that are not seen: ${codes.join(", ")}` : "";
      field.style.height = "auto";
      field.style.height = `${Math.min(field.scrollHeight + 4, 320)}px`;
    }
  }

  #typed() {
    this.#mark();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.keep(), KEEP_MS);
    this.dispatchEvent(new Event("change"));
  }

  /** Keeps what was typed and is not saved, or forgets it where nothing is. */
  keep() {
    clearTimeout(this.#timer);
    if (!this.clip) return;
    if (this.isChanged) this.#drafts[this.clip.id] = { revision: this.revision, captions: this.#fields.map(({ field }) => field.value) };
    else delete this.#drafts[this.clip.id];
    this.#store();
  }

  /** Forgets the draft of a clip, which the server has now. */
  forget(id) {
    delete this.#drafts[id];
    this.#store();
  }

  keepFor(id, revision, captions) {
    this.#drafts[id] = { revision, captions };
    this.#store();
  }

  #store() {
    try {
      localStorage.setItem(this.key, JSON.stringify(this.#drafts));
    } catch {
      // storage is off or full: what was typed lives as long as this tab
    }
  }

  get isChanged() {
    const now = this.#fields.map(({ field }) => field.value);
    return now.length !== this.#base.length || now.some((text, at) => text !== this.#base[at]);
  }

  /** All captions, without empty ones. */
  get captions() {
    return this.#fields.map(({ field }) => field.value.trim()).filter(Boolean);
  }

  /** The fields hold what was sent: it is the new base. */
  settle() {
    clearTimeout(this.#timer);
    this.#base = this.#fields.map(({ field }) => field.value);
  }

  reset() {
    this.forget(this.clip.id);
    this.#fill(this.#base);
    this.dispatchEvent(new Event("change"));
  }

  add(text = "") {
    if (this.#fields.length === 1 && !this.#fields[0].field.value.trim() && text) this.#fields[0].field.value = text;
    else this.#fields.push(this.#field(text));
    this.#number();
    this.#typed();
    if (!text) this.#fields.at(-1).field.focus();
  }

  /** Puts a text in the place of the clip's caption. */
  use(text) {
    this.#fields[0].field.value = text;
    this.#typed();
  }

  choose(at) {
    if (!this.#fields[at]) return false;
    this.#fields.unshift(...this.#fields.splice(at, 1));
    this.#number();
    this.#typed();
    return true;
  }

  remove(at) {
    this.#fields.splice(at, 1);
    this.#number();
    this.#typed();
    this.focus();
  }

  focus() {
    const { field } = this.#fields[0];
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }
}
