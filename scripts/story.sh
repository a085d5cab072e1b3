#!/usr/bin/env bash
# The whole project, small and in order. Read this first: each step names the modules that do its work.
# Minutes on two CPU cores. What it trains is far too small to be right; it shows the way and that the way is whole.
# The recipes in configs/starter, run as they stand, make the starter that is shipped.
#   scripts/story.sh [DIR [STEPS]]     default: runs/story, 100 steps a stage
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${1:-runs/story} steps=${2:-100}
. scripts/setup.sh
cineloop_env demo
export PATH="$cineloop_venv/bin:$PATH" HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1

train() { # a stage of configs/starter, cut down; a folder that holds the run already is gone on with
  local name=$1
  shift
  printf '\n== train: %s\n' "$name"
  local go=--overwrite
  [ ! -d "$out/$name/checkpoints" ] || go=--resume
  v2t train "configs/starter/$name.yaml" --out "$out/$name" $go --set loop.steps="$steps" \
    --set loop.batch_size=8 --set loop.eval_every="$steps" --set loop.save_every="$steps" "$@"
}

# 1. Learn to see: the vision tower, on single frames and their dense truth.      v2t/train/tower.py, v2t/world/dense.py
train tower --set vision.hidden_size=96 --set vision.intermediate_size=192 --set vision.num_hidden_layers=2 \
  --set eval_frames=64

# 2. Learn to speak: tokenizer and LLM, on the world's texts.                 v2t/train/language.py, v2t/world/words.py
train language --set llm.hidden_size=96 --set llm.intermediate_size=192 --set llm.num_hidden_layers=2 \
  --set tokenizer_scenes=500 --set vocab_size=600 --set eval_sequences=8

# 3. Join them: the resampler finds the facts, then the LLM says them.      v2t/train/align.py, v2t/model/resampler.py
train align-heads --set vision="$out/tower/final" --set llm="$out/language/final" --set resampler.hidden_size=96 \
  --set resampler.num_layers=1 --set resampler.frame_layers=1 --set eval_clips=16 --set eval_captions=4
train align --set model="$out/align-heads/final" --set eval_clips=16 --set eval_captions=4

# 4. Teach them to do as asked: three lengths of caption, questions of every kind.                v2t/train/instruct.py
train instruct --set model="$out/align/final" --set eval_clips=16

# 5. New clips, of combinations that no training draws.                       v2t/world/corpus.py, v2t/video/encode.py
printf '\n== clips\n'
v2t world --num 8 --seed 2026 --split unseen --size 128x128 --out "$out/clips"

# A model this small may say nothing of a clip, or run on: a failed clip ends `v2t caption` with 3, and is scored as such.
# 6. Watch them and write what happens.                          v2t/caption/run.py, v2t/video/worker.py, v2t/model/modeling.py
printf '\n== captions\n'
v2t caption "$out/clips" -o "$out/captions" --model "$out/instruct/final" --overwrite || [ $? = 3 ]

# 7. Hold the words against the truth.                                            eval/score.py, eval/metrics/facts.py
printf '\n== score\n'
v2t-eval score --captions "$out/captions/captions.jsonl" --truth "$out/clips/manifest.jsonl" \
  -o "$out/score" --overwrite || [ $? = 3 ]

# 8. Ask about one of them.                                                   v2t/ask/answer.py, v2t/captioners/local.py
printf '\n== question\n'
clips=("$out"/clips/*.mp4)
v2t ask "${clips[0]}" "What happens first?" --model "$out/instruct/final"
