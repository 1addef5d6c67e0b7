# Shared by the scripts in this folder; sourced, never run.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
script=$(basename "$0")

say() { printf '%s\n' "$*"; }
die() {
  printf '%s: %s\n' "$script" "$*" >&2
  exit 1
}
usage_error() {
  printf '%s: %s (see %s --help)\n' "$script" "$*" "$script" >&2
  exit 64
}

# phase TITLE: closes the phase before it, with the time that took, and opens the next one.
phase_title=""
phase_started=0
phase() {
  phase_end
  phase_title=$1
  phase_started=$SECONDS
  say "==> $phase_title"
}
phase_end() {
  if [ -n "$phase_title" ]; then
    say "    $phase_title: $((SECONDS - phase_started)) s"
  fi
  phase_title=""
}

# The first lines of a script's own comment are its help text.
help_text() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }

# How many compilers may run at once: one per core, as long as each finds about 1.5 GB (Beast and simdjson need it).
build_jobs() {
  local cores available_mb by_memory
  cores=$(nproc)
  available_mb=$(awk '/^MemAvailable:/ {print int($2 / 1024)}' /proc/meminfo 2>/dev/null || true)
  by_memory=$((${available_mb:-2048} / 1536))
  if [ "$by_memory" -lt 1 ]; then by_memory=1; fi
  if [ "$by_memory" -lt "$cores" ]; then say "$by_memory"; else say "$cores"; fi
}
