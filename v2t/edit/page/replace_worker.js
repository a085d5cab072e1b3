// Finds and replaces in all captions, in a thread of its own: a pattern may take for ever, and is stopped then.
// In: {find, by, regex, whole, exact, clips: [{id, captions}]}. Out: {hits, changes: [{id, captions, count}]} or {error}.

function pattern({ find, regex, whole, exact }) {
  const source = regex ? find : find.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");
  const bounded = whole ? `(?<![\\p{L}\\p{N}_])(?:${source})(?![\\p{L}\\p{N}_])` : source;
  return new RegExp(bounded, `gu${exact ? "" : "i"}${regex ? "m" : ""}`);
}

onmessage = ({ data }) => {
  let wanted;
  try {
    wanted = pattern(data);
  } catch (error) {
    postMessage({ error: error.message });
    return;
  }
  let hits = 0;
  const changes = [];
  for (const { id, captions } of data.clips) {
    let count = 0;
    const after = captions.map((text) => {
      const own = [...text.matchAll(wanted)].filter(([found]) => found !== "").length;
      count += own;
      if (!own) return text;
      return data.regex ? text.replace(wanted, data.by) : text.replace(wanted, () => data.by);
    });
    if (!count) continue;
    hits += count;
    if (after.some((text, at) => text !== captions[at])) changes.push({ id, captions: after, count });
  }
  postMessage({ hits, changes });
};
