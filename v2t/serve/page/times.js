// Times in what a model writes, and times for people.
// In: the text of an answer. Out: pieces of it, those that name a moment or a stretch with their seconds. Pure.

const CLOCK = String.raw`(?:\d{1,2}:[0-5]\d|\d{1,3}):[0-5]\d(?:\.\d{1,3})?`; // 1:23, 01:23.5, 1:02:03
const NUMBER = String.raw`\d{1,6}(?:\.\d{1,3})?`;
const UNIT = String.raw`\s?(?:s|secs?|seconds?)\b`;
const TO = String.raw`\s*(?:-->|[-\u2010-\u2015]|\bto\b|\buntil\b)\s*`;
const BEFORE = String.raw`\b(?:at|after|before|around|near|by|from|until|till|since|past)\s+(?:about\s+|around\s+)?`;

const PATTERN = new RegExp(
  [
    String.raw`(?<![\d:.,/])\[?(?<clockFrom>${CLOCK})(?:${TO}(?<clockTo>${CLOCK}))?\]?(?![\d:/])`,
    String.raw`(?<![\d:.,/-])\[?(?<from>${NUMBER})(?:${UNIT})?${TO}(?<to>${NUMBER})${UNIT}\]?`,
    String.raw`(?<=\bbetween\s+)(?<betweenFrom>${NUMBER})(?:${UNIT})?\s+and\s+(?<betweenTo>${NUMBER})${UNIT}`,
    String.raw`(?<=${BEFORE})(?<at>${NUMBER})${UNIT}`,
    String.raw`(?<=\bsecond\s+)(?<second>${NUMBER})(?![\d:])`,
    String.raw`\[(?<boxed>${NUMBER})(?:${UNIT})\]`,
    String.raw`(?<=^\W{0,4})(?<first>${NUMBER})${UNIT}(?=\s*[:\u2010-\u2015-])`,
  ].join("|"),
  "gmu",
);

function seconds(written) {
  return written.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
}

/**
 * The text cut where it names times.
 * @param {string} text what was written
 * @param {{duration?: number, offset?: number}} [video] its length, beyond which nothing counts as a time of it, and
 *   the second of it from which the times are counted (a range that was asked about)
 * @returns {{text: string, start?: number, end?: number|null}[]} all of the text, in order
 */
export function findTimes(text, { duration = Infinity, offset = 0 } = {}) {
  const pieces = [];
  let done = 0;
  for (const found of text.matchAll(PATTERN)) {
    const groups = found.groups;
    const from = groups.clockFrom ?? groups.from ?? groups.betweenFrom ?? groups.at ?? groups.second ?? groups.boxed ?? groups.first;
    const to = groups.clockTo ?? groups.to ?? groups.betweenTo;
    const start = seconds(from) + offset;
    const end = to === undefined ? null : seconds(to) + offset;
    if (start > duration + 0.5 || (end !== null && end < start)) continue;
    if (found.index > done) pieces.push({ text: text.slice(done, found.index) });
    pieces.push({ text: found[0], start: Math.min(start, duration), end: end === null ? null : Math.min(end, duration) });
    done = found.index + found[0].length;
  }
  if (done < text.length) pieces.push({ text: text.slice(done) });
  return pieces;
}

/**
 * What happened when, by the times an answer names: one event for each line with a time.
 * @returns {{start: number, end: number|null, text: string}[]}
 */
export function events(text, video = {}) {
  const found = [];
  for (const line of text.split(/\r\n|[\n\r\u2028\u2029]/)) {
    const pieces = findTimes(line, video);
    const at = pieces.findIndex((piece) => piece.start !== undefined);
    if (at < 0) continue;
    const lead = pieces.slice(0, at).map((piece) => piece.text).join("");
    const rest = pieces.slice(at + 1).map((piece) => piece.text).join("");
    const isLabel = /^\W*$/u.test(lead) && /^\W/u.test(rest); // "0.0-2.9s: a ball rolls"
    const words = isLabel ? rest.replace(/^[\s:.,)\]\u2010-\u2015-]+/u, "") : line;
    const bounds = pieces.filter((piece) => piece.start !== undefined);
    const end = bounds[0].end ?? (bounds.length === 2 && bounds[1].start > bounds[0].start && !isLabel ? bounds[1].start : null);
    found.push({ start: bounds[0].start, end, text: words.trim() || line.trim() });
  }
  return found;
}

/** 83.25 → "1:23.3"; hours only where there are some; `digits` after the point. */
export function clock(s, digits = 1) {
  if (!Number.isFinite(s)) return "–:––";
  const scale = 10 ** digits;
  const whole = Math.round(Math.max(0, s) * scale);
  const rest = whole % (60 * scale);
  const minutes = Math.floor(whole / (60 * scale));
  const tail = (rest / scale).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  const hours = Math.floor(minutes / 60);
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

/** 83.25 → "00:01:23.250", as WebVTT writes it. */
export function cueTime(s) {
  const ms = Math.round(Math.max(0, s) * 1000);
  const two = (n) => String(n).padStart(2, "0");
  return `${two(Math.floor(ms / 3_600_000))}:${two(Math.floor(ms / 60_000) % 60)}:${two(Math.floor(ms / 1000) % 60)}.${String(ms % 1000).padStart(3, "0")}`;
}

/** 83.25 → "83.3", without a needless ".0" kept off: "4.0". */
export function plain(s) {
  return Number(s).toFixed(1);
}

/** 1536000 → "1.5 MB". */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  const units = ["kB", "MB", "GB"];
  let value = bytes / 1000;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}
