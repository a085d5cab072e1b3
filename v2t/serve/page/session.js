// A session: videos, questions about them, answers; and the messages that a question becomes.
// In: what was asked so far. Out: the body of a chat request, with what each of its videos is. Pure but for new ids.

export const KEPT_BYTES = 200_000_000; // a larger video is not kept in the browser
const MOST_MESSAGES = 60; // the server's own limit is 64

/**
 * @typedef {{key: string, name: string, type: string, size: number, duration: number|null, fileId: string|null,
 *   url: string|null}} Video  `url` is an address given in place of a file
 * @typedef {{key: string, start: number|null, end: number|null}} About  a video, or a range of it
 * @typedef {{id: string, at: number, question: string, about: About[], answer: string,
 *   state: "waiting"|"answering"|"done"|"stopped"|"failed", model: string, seen: object[]|null, warnings: object[], sent: About[],
 *   finish: string|null, usage: object|null, offset: number|null, error: object|null, settings: object}} Turn
 */

const id = () => crypto.getRandomValues(new Uint32Array(4)).reduce((text, n) => text + n.toString(16).padStart(8, "0"), "");

export function newSession() {
  const now = Date.now();
  return { id: id(), title: "New session", created: now, updated: now, videos: [], current: null, turns: [] };
}

export function newVideo(file) {
  return { key: id(), name: file.name || "pasted video", type: file.type, size: file.size, duration: null, fileId: null, url: null };
}

export function newAddress(url) {
  const name = decodeURIComponent(url.split(/[?#]/)[0].split("/").filter(Boolean).at(-1) ?? url);
  return { key: id(), name, type: "", size: 0, duration: null, fileId: null, url };
}

export function newTurn(question, about, settings) {
  return {
    id: id(), at: Date.now(), question, about, settings, model: settings.model, answer: "", state: "waiting", seen: null, warnings: [], sent: [],
    finish: null, usage: null, offset: null, error: null,
  };
}

/** A session as it was stored, with what a reload cut short put right. */
export function restored(session) {
  for (const turn of session.turns) {
    if (turn.state === "waiting" || turn.state === "answering") turn.state = "stopped";
    delete turn.waiting;
  }
  return session;
}

/** The address the server knows a video by, with the range as a media fragment. */
export function addressOf(video, about) {
  const base = video.url ? video.url.replace(/#.*$/, "") : `upload:${video.fileId}`;
  if (about.start === null || about.start === undefined) return base;
  return `${base}#t=${number(about.start)},${number(about.end)}`;
}

function number(s) {
  return String(Math.round(s * 1000) / 1000);
}

const isSame = (a, b) => a.length === b.length && a.every((one, i) => one.key === b[i].key && one.start === b[i].start && one.end === b[i].end);

/**
 * The messages for the last of `turns`. A video goes before the words that are about it, once, and again only when
 * the talk came from another video or range. What goes beyond the limits is left out from the beginning.
 * @param {Turn[]} turns
 * @param {Video[]} videos
 * @param {{remember: boolean, mostVideos: number}} limits
 * @returns {{messages: object[], sent: About[], left: number}} `sent` in the order of the messages; `left` out turns
 */
export function messagesOf(turns, videos, { remember, mostVideos }) {
  const asked = turns.at(-1);
  const told = remember ? turns.slice(0, -1).filter((turn) => turn.answer && turn.state !== "failed") : [];
  for (let from = 0; ; from += 1) {
    const made = build([...told.slice(from), asked], videos);
    const fits = made.sent.length <= mostVideos && made.messages.length <= MOST_MESSAGES;
    if (fits || from >= told.length) return { ...made, left: from };
  }
}

function build(turns, videos) {
  const messages = [];
  const sent = [];
  let shown = [];
  for (const [i, turn] of turns.entries()) {
    const content = [];
    if (!isSame(turn.about, shown)) {
      for (const about of turn.about) {
        const video = videos.find((one) => one.key === about.key);
        if (!video) continue;
        content.push({ type: "video_url", video_url: { url: addressOf(video, about) } });
        sent.push(about);
      }
      shown = turn.about;
    }
    content.push({ type: "text", text: turn.question });
    messages.push({ role: "user", content });
    if (i < turns.length - 1) messages.push({ role: "assistant", content: turn.answer });
  }
  return { messages, sent };
}

/** The warnings of an answer or of a video's frames, as sentences. */
export function warningsOf(about) {
  return (about?.warnings ?? []).map((one) => `${one.code}: ${one.message}`);
}
