// A session as JSON, as Markdown, and the times of its answers as WebVTT.
// In: a session (see session.js). Out: text. Pure; what a model or a file name says stays text in each of them.

import { warningsOf } from "./session.js";
import { clock, cueTime, events, plain } from "./times.js";

export const FORM = "cineloop chat 1";

/** All of a session but what only this browser knows how to use. */
export function toJson(session) {
  const videos = session.videos.map(({ key, name, type, size, duration, url }) => ({ key, name, type, size, duration_s: duration, url }));
  const turns = session.turns.map((turn) => ({
    asked_at: new Date(turn.at).toISOString(),
    question: turn.question,
    about: turn.about.map(({ key, start, end }) => ({ video: key, start_s: start, end_s: end })),
    answer: turn.answer,
    state: turn.state,
    model: turn.model,
    settings: turn.settings,
    seen: turn.seen,
    warnings: warningsOf(turn),
    usage: turn.usage,
    error: turn.error,
    events: turn.answer ? events(turn.answer, timing(session, turn)) : [],
  }));
  return JSON.stringify({ form: FORM, title: session.title, created_at: new Date(session.created).toISOString(), videos, turns }, null, 2) + "\n";
}

/** How the times of a turn's answer are to be read: what video it is about, how long, from where they count. */
export function timing(session, turn) {
  const about = turn.about.at(-1);
  const video = about && session.videos.find((one) => one.key === about.key);
  const isRange = about?.start !== null && about?.start !== undefined;
  return { duration: video?.duration ?? Infinity, offset: isRange ? (turn.offset ?? about.start) : 0 };
}

const MARKDOWN = /[\\`*_{}[\]()#+\-.!|<>~&$:@]/g;

/** Text that Markdown shows as it is. */
export function markdownText(text) {
  return text.replace(/\r\n|[\r\u2028\u2029]/g, "\n").replace(MARKDOWN, "\\$&");
}

function quoted(text) {
  return markdownText(text).split("\n").map((line) => `> ${line}`).join("  \n");
}

export function toMarkdown(session) {
  const lines = [`# ${markdownText(session.title).replaceAll("\n", " ")}`, ""];
  for (const video of session.videos) {
    const length = Number.isFinite(video.duration) && video.duration !== null ? `, ${clock(video.duration)}` : "";
    lines.push(`- ${markdownText(video.name).replaceAll("\n", " ")}${length}`);
  }
  for (const turn of session.turns) {
    lines.push("", `**${markdownText(turn.question).replaceAll("\n", "  \n")}**${aboutText(session, turn)}`, "");
    if (turn.answer) lines.push(quoted(turn.answer), "");
    if (turn.state === "stopped") lines.push("(stopped)", "");
    if (turn.error) lines.push(`(${markdownText(turn.error.message)})`, "");
    const notes = (turn.seen ?? []).map(seenText).filter(Boolean);
    if (turn.model || notes.length) lines.push(`<small>${[markdownText(turn.model ?? ""), ...notes].filter(Boolean).join(" · ")}</small>`);
  }
  return lines.join("\n") + "\n";
}

function aboutText(session, turn) {
  const ranges = turn.about.filter((one) => one.start !== null && one.start !== undefined);
  return ranges.length ? ` (${ranges.map((one) => `${clock(one.start)} to ${clock(one.end)}`).join(", ")})` : "";
}

/** "16 frames from 0.0 to 3.9 s, 32 tokens": what a video was to the model; of a long film what it was told instead. */
export function seenText(seen) {
  const times = seen?.times_s ?? [];
  if (Array.isArray(seen?.notes)) return `${counted(seen.notes.length, "note")} taken by watching all of it`;
  if (Array.isArray(seen?.spans)) return `${counted(seen.spans.length, "place")} found by searching all of it`;
  if (!times.length) return "";
  const frames = times.length === 1 ? `1 frame at ${plain(times[0])} s` : `${times.length} frames from ${plain(times[0])} to ${plain(times.at(-1))} s`;
  const tokens = seen.visual_tokens;
  return tokens === null || tokens === undefined ? frames : `${frames}, ${tokens} ${tokens === 1 ? "token" : "tokens"}`;
}

function counted(num, word) {
  return `${num} ${word}${num === 1 ? "" : "s"}`;
}

/** Text of a cue: one line, no markup, and no arrow. */
export function cueText(text) {
  const line = text.replace(/[\s\u0085\u2028\u2029]+/gu, " ").trim();
  return line.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/**
 * The times that answers name about one video, as cues.
 * @param {object} session
 * @param {string} key of the video
 */
export function toVtt(session, key) {
  const video = session.videos.find((one) => one.key === key);
  const cues = [];
  for (const turn of session.turns) {
    if (turn.about.at(-1)?.key !== key || !turn.answer) continue;
    const reading = timing(session, turn);
    const last = Number.isFinite(reading.duration) && reading.duration !== null ? reading.duration : Infinity;
    const found = events(turn.answer, reading);
    if (!found.length) {
      const about = turn.about.at(-1);
      const start = about.start ?? 0;
      const end = about.end ?? last;
      found.push({ start, end: Number.isFinite(end) ? end : start + 5, text: turn.answer });
    }
    found.forEach((event, i) => {
      const next = found.slice(i + 1).find((other) => other.start > event.start)?.start ?? Infinity;
      const end = event.end ?? Math.min(event.start + 4, next, last);
      cues.push({ start: event.start, end: Math.max(end, event.start + 0.1), text: event.text });
    });
  }
  cues.sort((a, b) => a.start - b.start || a.end - b.end);
  const blocks = cues.map((cue, i) => `${i + 1}\n${cueTime(cue.start)} --> ${cueTime(cue.end)}\n${cueText(cue.text) || "–"}\n`);
  return `WEBVTT\n\nNOTE ${cueText(video?.name ?? "")}\n\n${blocks.join("\n")}`;
}

/** A file name that any system takes. */
export function fileName(title, suffix) {
  const stem = title.normalize("NFKC").replace(/\.[a-z0-9]{2,4}$/i, "").replace(/[^\p{L}\p{N}_-]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 60);
  return `${stem || "session"}.${suffix}`;
}
