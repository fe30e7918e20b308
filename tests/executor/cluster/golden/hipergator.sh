#!/bin/bash
#SBATCH --job-name=study
#SBATCH --partition=hpg-b200
#SBATCH --account=engines
#SBATCH --qos=engines
#SBATCH --nodes=2
#SBATCH --ntasks=16
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --mem=262144M
#SBATCH --time=01:00:00
#SBATCH --signal=INT@120
#SBATCH --gres=gpu:b200:8
#SBATCH --output=/home/ada/study/out/slurm/logs/%j.out
#SBATCH --error=/home/ada/study/out/slurm/logs/%j.err

# Rendered by `chimera slurm` for the cluster 'hipergator'.

folder=/home/ada/study/out/slurm
task=${SLURM_ARRAY_TASK_ID:-0}
log="$folder/logs/$SLURM_JOB_ID.err"
limit_s=3600 warning_s=120

nodes=2 ranks=16
text='chimera run chimera --model gpt-tiny --stages 8 --width 2 --microbatches 8'
command=(run chimera --model gpt-tiny --stages 8 --width 2 --microbatches 8)

leave() { # state, exit status, reason: the task's file changes whole or not at all
    printf 'state=%s\nexit_status=%s\njob=%s\nhost=%s\nat=%s\ncommand=%s\nreason=%s\n' \
        "$1" "$2" "$SLURM_JOB_ID" "${SLURMD_NODENAME:-}" "$(date -u +%FT%TZ)" "$text" "$3" >"$folder/tasks/.$task.$SLURM_JOB_ID"
    mv "$folder/tasks/.$task.$SLURM_JOB_ID" "$folder/tasks/$task"
}
broken() { # what did not work before any rank was started
    leave failed 1 "$1 failed, before any rank was started"
    exit 1
}
stopped() { # SLURM ends a job with TERM, at its limit and when it is cancelled
    if ((SECONDS + 5 >= limit_s)); then
        leave failed 143 "the time limit of $((limit_s / 60)) min was reached"
    else
        leave cancelled 143 "cancelled after $SECONDS s"
    fi
    exit 143
}
reason() { # the first error that a rank, or srun, has printed
    if ((warning_s > 0 && SECONDS + warning_s + 65 >= limit_s && ($1 == 130 || $1 == 143))); then
        echo "interrupted before the time limit of $((limit_s / 60)) min"
        return
    fi
    grep -m 1 -E '^(srun: |slurmstepd-?[^ ]*: )?error: ' "$log" || echo "exit status $1 without a word in $log"
}

grep -qx state=done "$folder/tasks/$task" 2>/dev/null && grep -qxF "command=$text" "$folder/tasks/$task" && exit 0
trap stopped TERM
leave running "" ""

cd /blue/engines/ada/chimera || broken 'cd /blue/engines/ada/chimera'
module purge || broken 'module purge'
module load conda || broken 'module load conda'
module load cuda || broken 'module load cuda'
conda activate /home/ada/chimera/env || broken 'conda activate /home/ada/chimera/env'

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_ADDR=$(scontrol show node "$first" | grep -o 'NodeAddr=[^ ]*' | cut -d= -f2)
[[ -n $MASTER_ADDR ]] || broken "asking scontrol for the address of ${first:-the first node}"
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
export MASTER_ADDR MASTER_PORT

export MALLOC_MMAP_THRESHOLD_=1073741824
export MALLOC_TRIM_THRESHOLD_=8589934592
export MALLOC_TOP_PAD_=67108864
export OMP_NUM_THREADS=1

srun --nodes="$nodes" --ntasks="$ranks" --cpus-per-task=8 --kill-on-bad-exit=1 \
    chimera "${command[@]}" &
wait $!
status=$?
if ((status == 0)); then
    leave done 0 ""
else
    leave failed "$status" "$(reason "$status")"
fi
exit "$status"
