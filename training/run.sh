#!/usr/bin/env bash
# The model in the box, from raw data to models/box and its figures. See README.md.
#
#   training/run.sh [STEPS of the matcher's training, default 11000]
set -euo pipefail
cd "$(dirname "$0")"
checkpoint=${CHECKPOINT:-/tmp/rankfleet-box.pt}
python=${PYTHON:-/usr/bin/python3}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc)}
"$python" train.py --steps "${1:-11000}" --out "$checkpoint"
"$python" topics.py --checkpoint "$checkpoint"
"$python" fuse.py --checkpoint "$checkpoint"
"$python" export.py --checkpoint "$checkpoint"
cd ..
for set in cranfield medline cacm time stackfaq; do
  echo "== $set"
  npx rankfleet eval "../shared/data/eval/$set" --measures ndcg@10
done
