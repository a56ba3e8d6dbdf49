#!/usr/bin/env bash
# Follows events with curl and goes on behind the last one after each break.
#
#   follow.sh http://127.0.0.1:9464 last-offset ['events=trading&key=BTCUSDT']
#
# Prints an event a line. `last-offset` is the file that remembers how far it came: without it, it begins with the first event that is
# kept. SLUICE_TOKEN is shown as the token.
set -uo pipefail
address=$1 remembered=$2 query=${3:-}

header=()
[ -n "${SLUICE_TOKEN:-}" ] && header=(-H "Authorization: Bearer $SLUICE_TOKEN")

while :; do
    from="from=0"
    [ -s "$remembered" ] && from="from=$(($(cat "$remembered") + 1))"
    while IFS= read -r line; do
        case $line in
        "id: "*) id=${line#id: } ;;
        "event: "*) event=${line#event: } ;;
        "data: "*)
            if [ "$event" = event ]; then
                printf '%s\n' "${line#data: }"
                # Behind what was done with it: what is cut off in between comes once more and is not lost.
                printf '%s\n' "$id" >"$remembered.new" && mv "$remembered.new" "$remembered"
            fi
            ;;
        esac
        # -N: nothing is gathered before it is printed. Heartbeats come every 15 s, so a minute without anything is a dead line.
    done < <(exec curl -sS -N --fail --speed-limit 1 --speed-time 60 "${header[@]}" "$address/v1/sse/events?$from${query:+&$query}")
    sleep 1
done
