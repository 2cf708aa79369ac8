# Watches while connections come and go, until one was seen from its beginning to its end.
observer watch --output json >/tmp/watched 2>/tmp/said &
watch=$!
for attempt in $(seq 60); do
    nc -l -p 4000 </dev/null >/dev/null &
    server=$!
    until grep -q ':0FA0 .* 0A ' /proc/net/tcp; do usleep 20000; done
    echo hello | nc 127.0.0.1 4000 >/dev/null
    wait $server
    grep -q '"type":"connection"' /tmp/watched && break
    kill -0 $watch || break
    sleep 1
done
kill -INT $watch
wait $watch
status=$?
cat /tmp/watched /tmp/said
exit $status
