#!/bin/bash
#SBATCH --job-name=chimera
#SBATCH --nodes=2
#SBATCH --ntasks=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=1
#SBATCH --time=00:30:00
#SBATCH --signal=INT@60
#SBATCH --array=0,2-4%2
#SBATCH --output=/home/ada/study/out/slurm/logs/%A_%a.out
#SBATCH --error=/home/ada/study/out/slurm/logs/%A_%a.err

# Rendered by `chimera slurm` for the cluster 'local'.

folder=/home/ada/study/out/slurm
task=${SLURM_ARRAY_TASK_ID:-0}
log="$folder/logs/${SLURM_ARRAY_JOB_ID}_$task.err"
limit_s=1800 warning_s=60

case $task in
0)
    nodes=2 ranks=2
    text='chimera run chimera --model gpt-tiny --stages 2 --microbatches 4'
    command=(run chimera --model gpt-tiny --stages 2 --microbatches 4)
    ;;
2)
    nodes=2 ranks=2
    text='chimera run chimera --model gpt-tiny --stages 2 --microbatches 4'
    command=(run chimera --model gpt-tiny --stages 2 --microbatches 4)
    ;;
3)
    nodes=1 ranks=1
    text='chimera simulate gpipe --stages 4 --microbatches 8 --forward 1ms --backward 2ms'
    command=(simulate gpipe --stages 4 --microbatches 8 --forward 1ms --backward 2ms)
    ;;
4)
    nodes=1 ranks=1
    text='chimera simulate gpipe --stages 4 --microbatches 8 --forward 1ms --backward 2ms'
    command=(simulate gpipe --stages 4 --microbatches 8 --forward 1ms --backward 2ms)
    ;;
esac

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

cd /home/ada/study || broken 'cd /home/ada/study'

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_ADDR=$(scontrol show node "$first" | grep -o 'NodeAddr=[^ ]*' | cut -d= -f2)
[[ -n $MASTER_ADDR ]] || broken "asking scontrol for the address of ${first:-the first node}"
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
export MASTER_ADDR MASTER_PORT

export MALLOC_MMAP_THRESHOLD_=1073741824
export MALLOC_TRIM_THRESHOLD_=8589934592
export MALLOC_TOP_PAD_=67108864
export OMP_NUM_THREADS=1

srun --nodes="$nodes" --ntasks="$ranks" --cpus-per-task=1 --kill-on-bad-exit=1 \
    /home/ada/env/bin/chimera "${command[@]}" &
wait $!
status=$?
if ((status == 0)); then
    leave done 0 ""
else
    leave failed "$status" "$(reason "$status")"
fi
exit "$status"
