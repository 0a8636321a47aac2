# Runs one server process and outlives its owner just long enough to clean up.
#
# usage: sh -c "$(cat guardian.sh)" guardian SIGNAL LAST_RESORT PATIENCE SCRATCH new|kept LOG COMMAND...
#
# stdin:  a pipe that only the owner holds. End of file means that the owner is gone, in whatever way: the server is
#         stopped and SCRATCH removed. The line "keep", after the server has ended, means: end, and remove nothing.
# stdout: the server's process id, and when it has ended its exit status.
# stderr: never written to. When the owner locks the server's folder, this is the locked file: the lock then lasts as long
#         as this process, so that nobody can start a second server before the first one is really gone.

signal=$1 last_resort=$2 patience=$3 scratch=$4 origin=$5 log=$6
shift 6

# Numbers of their own: a background command gets /dev/null as its stdin, and some shells report killed children on stderr.
exec 3<&0 4>&2 </dev/null 2>/dev/null

# Made here and not by the owner, so that there is no moment in which it exists without somebody who removes it.
if [ "$origin" = new ]; then
    mkdir -m 700 -- "$scratch" || exit 70
fi

"$@" 3<&- 4>&- >>"$log" 2>&1 &
server=$!
# Not before the server starts: it would inherit them. PIPE: the owner's end of stdout may be closed already.
trap '' HUP INT QUIT TERM PIPE
echo "$server"

(
    while read -r _ <&3; do :; done
    tries=0
    while kill -s "$signal" "$server"; do
        # A stopped process acts on no other signal until it continues.
        kill -s CONT "$server"
        tries=$((tries + 1))
        if [ "$tries" -gt "$patience" ]; then
            kill -s "$last_resort" "$server"
        fi
        sleep 1 3<&- 4>&-
    done
) >/dev/null &
watcher=$!

wait "$server"
status=$?
kill -s KILL "$watcher"
wait "$watcher"
echo "$status"

order=
read -r order <&3
if [ -n "$scratch" ] && [ "$order" != keep ]; then
    # What the server forked may still be writing its last file.
    tries=0
    until rm -rf -- "$scratch" || [ "$tries" -ge 10 ]; do
        tries=$((tries + 1))
        sleep 1
    done
fi
