#!/usr/bin/env bash
# The whole project, small and in order, on a CPU: read it from top to bottom. Two models are trained from nothing, a
# captioner and a generator; clips are made, watched, scored, sent round, and a gate passes one generator and fails
# another. All of it ends in one page, DIR/index.html.
#   scripts/story.sh [DIR]                      a few minutes on two free cores; DIR is runs/story/small if not given
#   STORY_SIZE=full scripts/story.sh [DIR]      about 25 minutes: the models learn more, there are more clips
# What is trained here has seen a few hundred clips and can next to nothing: it shows that the path is whole. What is
# scored is made and watched by the bundled starters, which were trained by the same commands for hours.
# A stopped story goes on where it was; `rm DIR/steps/NAME` has it done again from that step on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case "${STORY_SIZE:=small}" in
  small) tower=20 language=30 heads=10 align=15 vae=20 dit=30 epoch=32 clips=8 seeds=1 planted=6 ;;
  full) tower=1200 language=700 heads=600 align=600 vae=700 dit=1000 epoch=2048 clips=60 seeds=4 planted=12 ;;
  *) echo "STORY_SIZE must be small or full, not $STORY_SIZE" >&2 && exit 2 ;;
esac
out=${1:-runs/story/$STORY_SIZE}
. scripts/setup.sh
cineloop_env demo
export PATH="$cineloop_venv/bin:$PATH" HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1
mkdir -p "$out/steps"

# step NAME CODES COMMAND: shows the command, runs it unless it was done before, and keeps its seconds and exit code for
# the page. CODES are the exit codes that are as they should be; 3 means that some items failed, each with its reason.
before=yes
step() {
  local name=$1 expected=$2 code=0 begun=$SECONDS command="" word
  shift 2
  if [ "$before" = yes ] && [ -e "$out/steps/$name" ]; then
    printf '== %s: done before\n' "$name"
    return
  fi
  before=no # what follows a step that was done now is done now as well
  for word; do if [[ $word = *" "* ]]; then command+=" \"$word\""; else command+=" $word"; fi; done
  printf '\n== %s\n$%s\n' "$name" "$command"
  "$@" || code=$?
  if [[ " $expected " != *" $code "* ]]; then
    printf '== %s: exit code %s, expected %s\n' "$name" "$code" "$expected" >&2
    exit $((code ? code : 1))
  fi
  printf '== %s: exit code %s as expected, %s s\n' "$name" "$code" $((SECONDS - begun))
  printf '%s\n' $((SECONDS - begun)) "$code" "${command# }" >"$out/steps/$name"
}

# A training that was cut short goes on from its last checkpoint.
again() { if [ -d "$1/checkpoints" ] && [ ! -e "$1/final" ]; then echo --resume; else echo --overwrite; fi; }

# 1. Clips whose truth is known: drawn, with captions, questions and facts as data.                            cineloop/world
step world 0 v2t world --num "$clips" --seed 2026 --split unseen --size 128x128 -o "$out/world"

# 2. A captioner from nothing. First it learns to see: single frames, and what lies on each of their patches.
step tower 0 v2t train configs/story/tower.yaml -o "$out/tower" --set loop.steps="$tower" "$(again "$out/tower")"

# 3. It learns to speak: a tokenizer and a language model on the world's texts.                   v2t/train/language.py
step language 0 v2t train configs/story/language.yaml -o "$out/language" --set loop.steps="$language" \
  "$(again "$out/language")"

# 4. Both are joined: a resampler learns to find the facts of a clip,                                v2t/train/align.py
step align-heads 0 v2t train configs/story/align-heads.yaml -o "$out/align-heads" --set vision="$out/tower/final" \
  --set llm="$out/language/final" --set loop.steps="$heads" "$(again "$out/align-heads")"

# 5. and the language model to say them.
step align 0 v2t train configs/story/align.yaml -o "$out/align" --set model="$out/align-heads/final" \
  --set loop.steps="$align" "$(again "$out/align")"

# 6. A generator from nothing: an autoencoder makes clips small,                                       t2v/train/vae.py
step vae 0 t2v train configs/story/vae.yaml -o "$out/vae" --set loop.steps="$vae" "$(again "$out/vae")"

# 7. and a transformer learns to make such small clips from prompts.                                   t2v/train/dit.py
step dit 0 t2v train configs/story/dit.yaml -o "$out/dit" --set vae="$out/vae/final" --set cache="$out/latents" \
  --set num_clips="$epoch" --set loop.steps="$dit" "$(again "$out/dit")"

# 8. The tiny pair at work: the generator just trained makes clips, the captioner just trained watches the drawn ones.
step generate-tiny 0 t2v generate "A red heart is growing in a meadow." "A blue car drives to the right in the city." \
  -o "$out/made-tiny" --model "$out/dit/final" --overwrite
step caption-tiny "0 3" v2t caption "$out/world" -o "$out/captions-tiny" --model "$out/align/final" --overwrite

# 9. The starters at the same work. From here on the figures mean something.
step generate 0 t2v generate --prompts configs/story/prompts.txt --num-videos "$seeds" -o "$out/made" --overwrite
step caption "0 3" v2t caption "$out/world" -o "$out/captions" --overwrite

# 10. Scores: the facts in both captioners' words against the truth, the generator's clips against their prompts.
step score-tiny "0 3" v2t-eval score --captions "$out/captions-tiny/captions.jsonl" \
  --truth "$out/world/manifest.jsonl" -o "$out/score-tiny" --overwrite
step score-captions 0 v2t-eval score --captions "$out/captions/captions.jsonl" --truth "$out/world/manifest.jsonl" \
  -o "$out/score-captions" --overwrite
step score 0 v2t-eval score "$out/made" --suite configs/story/gate.yaml -o "$out/score" \
  --cache "$out/evidence" --overwrite

# 11. The round trip: prompt to clip to caption; how much of the prompt comes back, between chance and a perfect clip.
step roundtrip 0 v2t-eval roundtrip --clips "$out/made" -o "$out/roundtrip" --overwrite

# 12. The audit: how far can the judge and the metrics be trusted? Faults are planted, claims of known truth are asked.
step audit 0 v2t-eval audit --metrics temporal_flickering,sharpness --num "$planted" --generated "$out/made" \
  -o "$out/audit" --overwrite

# 13. The gate. A baseline is kept; the same generator again must pass, and the tiny one of step 7 must fail: the exit
# code of a gate that fails is 6. Sixteen prompts prove great harm only; with one step for sixteen they prove nothing.
step gate-init 0 v2t-eval gate init "$out/made" --suite configs/story/gate.yaml -o "$out/baseline.json" \
  --cache "$out/evidence" --overwrite
step again 0 t2v generate --prompts configs/story/prompts.txt --num-videos "$seeds" -o "$out/again" --overwrite
step gate-pass 0 v2t-eval gate "$out/again" --suite configs/story/gate.yaml --baseline "$out/baseline.json" \
  --audit "$out/audit/audit.json" --baseline-clips "$out/made" -o "$out/gate-pass" --cache "$out/evidence" --overwrite
step worse 0 t2v generate --prompts configs/story/prompts.txt --num-videos "$seeds" --model "$out/dit/final" \
  -o "$out/worse" --overwrite
step gate-fail 6 v2t-eval gate "$out/worse" --suite configs/story/gate.yaml --baseline "$out/baseline.json" \
  --audit "$out/audit/audit.json" --baseline-clips "$out/made" -o "$out/gate-fail" --cache "$out/evidence" --overwrite

# 14. One page of all of it.
python scripts/story_page.py "$out"
echo "the story: $out/index.html"
