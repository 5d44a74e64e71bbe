#!/usr/bin/env bash
# The model in the box, from raw data to models/box and its figures. See README.md.
#
#   training/run.sh [STEPS of the matcher's training, default 11000]
#
# With READER=FILE the reader is not trained but taken from there: trained on a machine with a GPU, from $WORK/tables.
# With READER=shipped it is the one in models/box.
set -euo pipefail
cd "$(dirname "$0")"
work=${WORK:-/tmp/rankfleet-training}
python=${PYTHON:-/usr/bin/python3}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc)}
# Tensors that live for one step keep their pages: in a virtual machine getting them anew takes longer than the arithmetic.
export MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=8589934592
# And matrix products in torch's own threads, where Debian would take threads of OpenBLAS beside those.
export LD_LIBRARY_PATH=/usr/lib/$(uname -m)-linux-gnu/openblas-openmp${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
mkdir -p "$work"
checkpoint=$work/box.pt
"$python" train.py --steps "${1:-11000}" --out "$checkpoint"
"$python" topics.py --checkpoint "$checkpoint"
"$python" tables.py --checkpoint "$checkpoint" --out "$work/tables"
reader=$work/reader.pt
case ${READER:-} in
  "") "$python" train_reader.py --tables "$work/tables" --out "$reader" ;;
  shipped) "$python" shipped_reader.py --out "$reader" ;;
  *) reader=$READER ;;
esac
"$python" fuse.py --checkpoint "$checkpoint" --reader "$reader"
"$python" export.py --checkpoint "$checkpoint" --out "$work/box"
"$python" calibration.py --out "$work/calibration.jsonl"
cd ..
rm -rf "$work/box-int8" models/box/onnx
npx rankfleet models quantize "$work/box" --out "$work/box-int8" --calibration "$work/calibration.jsonl"
cp -r "$work/box-int8/." models/box/
"$python" training/lean.py models/box/onnx/model_int8.onnx
for set in cranfield medline cacm time stackfaq; do
  echo "== $set"
  npx rankfleet eval "../shared/data/eval/$set" --measures ndcg@10
done
