// The list of clips: thousands of rows, of which only those on the screen exist.
// In: clips in order. Out: "choose" events with a clip. Rows have one height, so a place in the list is a product.

import { make } from "./dom.js";
import { shown } from "./clips.js";
import { visible } from "./text.js";

const ROW = 68;
const SPARE = 6; // rows beyond either edge
const MARKS = { accepted: "Accepted", rejected: "Rejected", look: "Needs a look" };

export class ClipList extends EventTarget {
  #box;
  #sheet;
  #rows = new Map(); // index → node
  #free = [];
  #clips = [];
  #current = null;
  #address;
  #isDue = false;

  /** @param {(clip: object) => string|null} address of a picture of a clip */
  constructor(box, sheet, address) {
    super();
    this.#box = box;
    this.#sheet = sheet;
    this.#address = address;
    box.addEventListener("scroll", () => this.#draw(), { passive: true });
    new ResizeObserver(() => this.#draw()).observe(box);
    sheet.addEventListener("click", (event) => {
      const row = event.target.closest("[data-index]");
      if (row) this.dispatchEvent(new CustomEvent("choose", { detail: this.#clips[Number(row.dataset.index)] }));
    });
  }

  get clips() {
    return this.#clips;
  }

  show(clips) {
    this.#clips = clips;
    this.#sheet.style.height = `${clips.length * ROW}px`;
    this.#retire(() => true);
    this.#draw();
  }

  /** Draws clips again that changed, each row in its place: one may be about to be clicked. */
  refresh() {
    for (const [at, node] of this.#rows) this.#fill(node, at);
    this.#draw();
  }

  select(clip, { isShown = true } = {}) {
    this.#current = clip;
    const at = this.#clips.indexOf(clip);
    if (at >= 0 && isShown) {
      const top = at * ROW;
      const { scrollTop, clientHeight } = this.#box;
      if (top < scrollTop) this.#box.scrollTop = top - ROW;
      else if (top + ROW > scrollTop + clientHeight) this.#box.scrollTop = top + 2 * ROW - clientHeight;
    }
    this.refresh();
  }

  /** The clip so many places after a clip, in the list as it is shown. */
  beside(clip, steps) {
    const at = this.#clips.indexOf(clip);
    if (at < 0) return this.#clips[0] ?? null;
    return this.#clips[Math.min(this.#clips.length - 1, Math.max(0, at + steps))] ?? null;
  }

  #retire(isOut) {
    for (const [at, node] of this.#rows) {
      if (!isOut(at)) continue;
      this.#rows.delete(at);
      this.#free.push(node);
    }
  }

  #draw() {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      const first = Math.max(0, Math.floor(this.#box.scrollTop / ROW) - SPARE);
      const last = Math.min(this.#clips.length, Math.ceil((this.#box.scrollTop + this.#box.clientHeight) / ROW) + SPARE);
      this.#retire((at) => at < first || at >= last);
      for (let at = first; at < last; at += 1) {
        if (!this.#rows.has(at)) this.#rows.set(at, this.#fill(this.#free.pop() ?? this.#blank(), at));
      }
      for (const node of this.#free) node.hidden = true;
      const current = this.#clips.indexOf(this.#current);
      const isThere = this.#rows.has(current);
      if (isThere) this.#box.setAttribute("aria-activedescendant", `row-${current}`);
      else this.#box.removeAttribute("aria-activedescendant");
    });
  }

  #fill(node, at) {
    const clip = shown(this.#clips[at]);
    const [picture, name, text, marks] = node.children;
    node.hidden = false;
    node.id = `row-${at}`;
    node.dataset.index = String(at);
    node.style.transform = `translateY(${at * ROW}px)`;
    node.setAttribute("aria-selected", String(this.#clips[at] === this.#current));
    node.setAttribute("aria-posinset", String(at + 1));
    node.setAttribute("aria-setsize", String(this.#clips.length));
    node.dataset.kind = clip.status === "ok" ? clip.review : "failed";
    node.dataset.seen = String(clip.seen);
    const address = this.#address(clip) ?? "";
    if (picture.getAttribute("src") !== address) {
      picture.hidden = !address;
      if (address) picture.src = address;
      else picture.removeAttribute("src");
    }
    name.textContent = visible(clip.id);
    text.textContent = clip.status === "ok" ? visible(clip.captions[0] ?? "") : `${clip.error?.code ?? "FAILED"}: ${visible(clip.error?.message ?? "")}`;
    const words = [
      MARKS[clip.review],
      clip.doubt >= 0.5 ? `doubt ${clip.doubt.toFixed(2)}` : null,
      clip.warnings[0]?.code,
      clip.captions.length > 1 ? `${clip.captions.length} captions` : null,
      clip.edited ? "edited" : null,
      ...clip.tags.slice(0, 2),
    ].filter(Boolean);
    marks.textContent = words.map(visible).join(" · ");
    return node;
  }

  #blank() {
    const picture = make("img", { alt: "", decoding: "async", className: "strip", onerror: (event) => { event.target.hidden = true; } });
    const node = make(
      "div",
      { className: "clip-row", role: "option" },
      picture,
      make("span", { className: "clip-name" }),
      make("span", { className: "clip-text", dir: "auto" }),
      make("span", { className: "clip-marks" }),
    );
    this.#sheet.append(node);
    return node;
  }
}
