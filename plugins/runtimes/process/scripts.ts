/**
 * The constant dash scripts. They get paths and options as positional arguments and as PINTLE_ variables, never by
 * interpolation, and use shell builtins wherever they can: a process more is a millisecond more for each container.
 *
 *   agent --spawn--> launch --exec--> unshare --pid --exec--> shim --fork--> nsenter --exec--> unshare --mount
 *                                                                    --exec--> init (pid 1) --fork--> the command
 *
 * The shim lives in the node's namespaces, in a session of its own, and outlives the agent. It can fork only once: the
 * first child is pid 1 of the new namespace, and when that has ended there is no namespace to fork into. So after that it
 * uses builtins only. Nobody but the shim and the command's own processes holds the FIFOs open on the container's side.
 * The init keeps all capabilities (a container with fewer cannot open its /proc entries) and runs only what is in
 * /.pintle, a read-only mount of programs that the container cannot change.
 *
 * An input that ends with its first client is kept open by a process of its own, the holder, until that is told to go; the
 * shim and the command can only read it then.
 *
 * The FIFOs are open to all users, for a command that is not root opens /dev/stdout anew; their folder is not.
 *
 * Descriptors: 3 tells the agent that set-up is over, 4 setup.log, 5 stdout, 6 stderr, 7 release (shim) or outcome
 * (init), 8 stdin, 9 main.
 */

/** Arguments: own|host (pid namespace), exit file, mount propagation, cgroup.procs files, "--", options of nsenter. */
export const launchScript = `
umask 022
exec 4>>setup.log 2>&4
read -r stat </proc/self/stat
set -C
printf '%s\\n' "$stat" >claim || exit 97
set +C
mkfifo -m 666 stdout.fifo stderr.fifo stdin.fifo release.fifo || exit 98
if [ "$PINTLE_STDIN" = once ]; then
  mkfifo -m 600 hold.fifo || exit 98
  exec 8<>stdin.fifo 9<>hold.fifo
  { read -r released; } <&9 3>&- 4>&- &
  exec 9>&-
fi
if [ "$1" = own ]; then exec unshare --pid -- dash -c 'eval "$PINTLE_SHIM"' pintle-shim "$@"; fi
exec dash -c 'eval "$PINTLE_SHIM"' pintle-shim "$@"
`;

export const shimScript = `
exits=$2 propagation=$3
shift 3
exec 5<>stdout.fifo 6<>stderr.fifo 7<>release.fifo 8<>stdin.fifo
case $PINTLE_STDIN in
kept) exec <&8 ;;
once) exec <stdin.fifo 8>&- ;;
esac
(
  while [ "$1" != -- ]; do echo 0 >"$1" || exit 96; shift; done
  shift
  exec nsenter "$@" unshare --mount --propagation "$propagation" -- dash -c 'eval "$PINTLE_INIT"' pintle-init
) >&5 2>&4 4>&- 5>&- 7>&- 8>&-
printf '%s\\n' "$?" >"$exits"
if [ "$PINTLE_STDIN" = once ]; then { echo >&9; } 9<>hold.fifo; fi
exec 3>&-
read -r released <&7
`;

export const initScript = `
set -f
fail() {
  printf 'failed %s %s\\n' "$1" "$2" >&7
  (echo >&3)
  exit "$1"
}
read -r stat </proc/self/stat
printf '%s\\n' "$stat" >init
exec 7>outcome 9>main
mount -a -T fstab || fail 128 'its file system could not be set up'
cd root || fail 128 'its root folder is missing'
pivot_root . .pintle/old || fail 128 'its root could not be changed'
cd /
$PINTLE_LD /.pintle/umount -l /.pintle/old || fail 128 'the root of the node could not be left'
[ -d "$PINTLE_WORKDIR" ] || $PINTLE_LD /.pintle/mkdir -p -- "$PINTLE_WORKDIR"
cd -- "$PINTLE_WORKDIR" || fail 126 "working directory $PINTLE_WORKDIR cannot be entered"
found=
case $PINTLE_COMMAND in
*/*) [ ! -e "$PINTLE_COMMAND" ] || found=$PINTLE_COMMAND ;;
*)
  IFS=:
  for folder in $PINTLE_PATH; do
    if [ -f "\${folder:-.}/$PINTLE_COMMAND" ]; then
      found=\${folder:-.}/$PINTLE_COMMAND
      if [ -x "$found" ]; then break; fi
    fi
  done
  unset IFS
  ;;
esac
[ -n "$found" ] || fail 127 "$PINTLE_COMMAND: command not found"
[ -f "$found" ] && [ -x "$found" ] || fail 126 "$PINTLE_COMMAND: cannot be executed"
n=0 words=
while [ "$n" -lt "$PINTLE_ARGC" ]; do
  words="$words \\"\\$PINTLE_ARG_$n\\""
  n=$((n + 1))
done
eval "set -- $words"
echo started >&7
exec 7>&-
(echo >&3)
exec 3>&-
(
  read -r stat </proc/self/stat
  printf '%s\\n' "$stat" >&9
  exec "$@" 2>&6 6>&- 9>&-
)
code=$?
# What forks while it is looked for is found in the next round.
left=0
[ "$PINTLE_PIDS" = own ] || left=1000
while [ "$left" -gt 0 ]; do
  found=
  for entry in $(set +f; echo /proc/[0-9]*); do
    if [ "$entry/ns/mnt" -ef /proc/self/ns/mnt ] && [ "$entry" != "/proc/$$" ]; then
      kill -9 "\${entry#/proc/}"
      found=yes
    fi
  done
  [ -n "$found" ] && left=$((left - 1)) || left=0
done
exit "$code"
`;

/**
 * Makes a pid namespace that several containers share. Its pid 1 reaps what they leave (a parent that ignores SIGCHLD has no
 * zombies); what they see of it through /proc is a root that holds a few programs. It is ready when it lets go of stdout.
 * Arguments: file for the namespace, file for its pid 1, folder of the tools, an empty folder.
 */
export const pidNamespaceScript = `
( exec unshare --mount --propagation private -- dash -c '
  mount --bind "$1" "$2" && mount -t proc proc "$2/proc" && cd "$2" && pivot_root . old && cd / || exit 1
  /ld.so --inhibit-cache --library-path / /umount -l /old || exit 1
  exec /ld.so --inhibit-cache --library-path / /env -i --ignore-signal=CHLD \
    /ld.so --inhibit-cache --library-path / /sleep infinity <&- >&- 2>&-
  ' pintle-pause "$3" "$4"
) &
read -r stat </proc/$!/stat
printf '%s\\n' "$stat" >"$2"
mount --bind "/proc/$!/ns/pid" "$1"
`;

/** Runs inside the new net, uts and ipc namespaces. Arguments: host name, folder for /dev/shm or "", then name and value of each sysctl. */
export const sandboxScript = `
{ echo "$1" >/proc/sys/kernel/hostname; } 2>/dev/null || hostname -- "$1" || exit 1
if [ -n "$2" ]; then mount -t tmpfs -o nosuid,nodev,noexec,mode=1777,size=64m shm "$2" || exit 1; fi
shift 2
while [ $# -gt 1 ]; do
  echo "$2" >"/proc/sys/$1" || { echo "sysctl $1 could not be set to $2" >&2; exit 2; }
  shift 2
done
`;
