// The talk on the page: questions, answers that grow, the times in them as buttons, what the model saw, what went wrong.
// In: turns of a session (session.js). Out: "seek", "again", "edit", "cancel" events with their details. All is set as text.

import { make } from "./dom.js";
import { seenText, timing } from "./exports.js";
import { warningsOf } from "./session.js";
import { clock, findTimes, plain } from "./times.js";

export class Conversation extends EventTarget {
  #box;
  #cards = new Map();

  constructor(box) {
    super();
    this.#box = box;
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /** All turns of a session anew. */
  show(session) {
    this.#cards.clear();
    for (const card of this.#box.querySelectorAll(".turn")) card.remove();
    for (const turn of session.turns) this.update(session, turn);
    this.#box.scrollTop = this.#box.scrollHeight;
  }

  /** One turn as it is now; a new one at the end. */
  update(session, turn) {
    const isAtEnd = this.#isAtEnd();
    let card = this.#cards.get(turn.id);
    const isNew = !card;
    if (!card) {
      card = this.#card(session, turn);
      this.#cards.set(turn.id, card);
      this.#box.append(card.node);
    }
    const isBusy = turn.state === "waiting" || turn.state === "answering";
    this.#box.setAttribute("aria-busy", String(isBusy));
    card.node.dataset.state = turn.state;
    patch(card.answer, findTimes(turn.answer, timing(session, turn)), (piece) => this.#seekButton(turn, piece));
    card.answer.hidden = !turn.answer;
    // Above the answer, which may mean nothing: nobody reads what is below.
    const doubts = warningsOf(turn);
    card.node.toggleAttribute("data-doubted", doubts.length > 0);
    card.doubts.replaceChildren(...doubts.map((doubt) => make("p", { className: "warning" }, doubt)));
    this.#state(card.state, turn);
    card.seen.replaceChildren(...seenLines(session, turn));
    card.actions.hidden = isBusy;
    if (isNew || isAtEnd) this.#toEnd();
  }

  /** Whether the end of the talk is in sight: in its own box, or in the page where that scrolls (a narrow window). */
  #isAtEnd() {
    if (this.#scrolls) return this.#box.scrollHeight - this.#box.scrollTop - this.#box.clientHeight < 60;
    return this.#box.getBoundingClientRect().bottom < innerHeight + 60;
  }

  #toEnd() {
    if (this.#scrolls) this.#box.scrollTop = this.#box.scrollHeight;
    else this.#box.scrollIntoView({ block: "end" });
  }

  get #scrolls() {
    return getComputedStyle(this.#box).overflowY !== "visible";
  }

  #card(session, turn) {
    const ranges = turn.about.map((about) => this.#aboutButton(session, turn, about)).filter(Boolean);
    const question = make("div", { className: "question" }, make("p", { className: "words", dir: "auto" }, turn.question), ...ranges);
    const doubts = make("div", { className: "doubts" });
    const answer = make("p", { className: "words answer", dir: "auto" });
    const state = make("div", { className: "state" });
    const seen = make("div", { className: "saw" });
    const actions = make(
      "div",
      { className: "actions" },
      make("button", { type: "button", onclick: () => this.#tell("again", turn) }, "Regenerate"),
      make("button", { type: "button", onclick: () => this.#tell("edit", turn) }, "Edit question"),
      make("button", { type: "button", onclick: (event) => copy(turn.answer, event.currentTarget) }, "Copy"),
    );
    const node = make("article", { className: "turn", "aria-label": "Question and answer" }, question, doubts, answer, state, seen, actions);
    node.dataset.turn = turn.id;
    return { node, doubts, answer, state, seen, actions };
  }

  #aboutButton(session, turn, about) {
    const video = session.videos.find((one) => one.key === about.key);
    const hasRange = about.start !== null && about.start !== undefined;
    if (!hasRange && session.videos.length < 2) return null;
    const name = session.videos.length > 1 ? `${video?.name ?? "a video"}` : "";
    const range = hasRange ? `${clock(about.start)} – ${clock(about.end)}` : "";
    const seek = () => this.#tell("seek", { key: about.key, start: about.start ?? 0, end: about.end ?? null });
    return make("button", { type: "button", className: "chip", onclick: seek }, [name, range].filter(Boolean).join(", "));
  }

  #seekButton(turn, piece) {
    const to = piece.end === null ? clock(piece.start) : `${clock(piece.start)} to ${clock(piece.end)}`;
    const detail = { key: turn.about.at(-1)?.key, start: piece.start, end: piece.end };
    return make(
      "button",
      { type: "button", className: "time", title: `Go to ${to}`, "aria-label": `${piece.text}, go to ${to}`, onclick: () => this.#tell("seek", detail) },
      piece.text,
    );
  }

  #state(box, turn) {
    const parts = [];
    if (turn.waiting) {
      const cancel = make("button", { type: "button", onclick: () => this.#tell("cancel", turn) }, "Cancel");
      parts.push(make("p", { className: "wait" }, make("span", { className: "dots", "aria-hidden": "true" }), turn.waiting, " ", cancel));
    }
    if (turn.state === "stopped") parts.push(make("p", { className: "quiet" }, turn.answer ? "Stopped here." : "Stopped before an answer came."));
    if (turn.finish === "length") parts.push(make("p", { className: "quiet" }, `Cut at ${turn.settings.maxTokens} tokens; Settings has a longer limit.`));
    if (turn.state === "done" && !turn.answer) parts.push(make("p", { className: "quiet" }, "The model had nothing to say."));
    if (turn.error) parts.push(this.#error(turn));
    if (parts.length || box.childNodes.length) {
      if (box.textContent !== parts.map((part) => part.textContent).join("")) box.replaceChildren(...parts);
    }
  }

  #error(turn) {
    const { message, code, requestId } = turn.error;
    const again = make("button", { type: "button", onclick: () => this.#tell("again", turn) }, "Ask again");
    const lines = [make("p", {}, message)];
    if (code === "PROMPT_TOO_LONG" && turn.settings.remember) {
      lines.push(make("p", {}, make("button", { type: "button", onclick: () => this.#tell("alone", turn) }, "Ask without the talk before")));
    }
    lines.push(make("p", { className: "quiet" }, code, requestId ? ` · request ${requestId}` : ""), again);
    return make("div", { className: "error", role: "alert" }, ...lines);
  }
}

/** Makes the children of a node what the pieces say, leaving those that are so already: a button under the pointer stays. */
function patch(node, pieces, button) {
  const key = (piece) => `${piece.start ?? ""}|${piece.end ?? ""}|${piece.text}`;
  const had = node.pieces ?? [];
  let same = 0;
  while (same < had.length && same < pieces.length && had[same] === key(pieces[same])) same += 1;
  while (node.childNodes.length > same) node.lastChild.remove();
  for (const piece of pieces.slice(same)) node.append(piece.start === undefined ? piece.text : button(piece));
  node.pieces = pieces.map(key);
}

function seenLines(session, turn) {
  const [own, earlier] = [[], []];
  const warnings = new Set();
  const doubts = new Set(warningsOf(turn));
  for (const [i, seen] of (turn.seen ?? []).entries()) {
    const about = turn.sent[i];
    const name = session.videos.length > 1 && about ? session.videos.find((one) => one.key === about.key)?.name : null;
    const isOwn = turn.about.some((one) => one.key === about?.key && one.start === about.start && one.end === about.end);
    const text = seenText(seen);
    if (text && isOwn) own.push(make("p", {}, [name, text].filter(Boolean).join(": ")));
    else if (text) earlier.push(make("p", {}, ["From earlier in the talk", name, text].filter(Boolean).join(": ")));
    for (const warning of warningsOf(seen)) if (!doubts.has(warning)) warnings.add(warning);
  }
  const lines = [...own, ...earlier];
  for (const warning of warnings) lines.push(make("p", { className: "warning" }, warning));
  const hasTimes = turn.offset && findTimes(turn.answer, timing(session, turn)).some((piece) => piece.start !== undefined);
  if (hasTimes) lines.push(make("p", {}, `Times in this answer count from ${plain(turn.offset)} s; the buttons go to the right place.`));
  if (turn.left) lines.push(make("p", {}, `The first ${turn.left} of the earlier answers were left out: too much for one request.`));
  return lines;
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed";
  }
  setTimeout(() => {
    button.textContent = "Copy";
  }, 1500);
}
