# Real servers and clients, in the network namespace and the namespace of mounts that it is run in; the folder to work in is
# its argument, and is to hold the secrets of all TLS in keys.log. Says `skipped:` of each program that is not there. What it
# starts is in its process group.
set -u
cd "$1" || exit 1
umask 022
chmod 755 .

# has WHAT PROGRAM...: whether all are there.
has() {
    what=$1
    shift
    for program; do
        if ! command -v "$program" >/dev/null; then
            echo "skipped: $what: $program is not installed"
            return 1
        fi
    done
}

# Waits until something listens on each of these TCP ports.
listening() {
    for port; do
        tries=0
        until ss -Hltn "sport = :$port" | grep -q .; do
            tries=$((tries + 1))
            if [ $tries -gt 200 ]; then
                echo "nothing listens on port $port"
                exit 1
            fi
            sleep 0.02
        done
    done
}

export SSLKEYLOGFILE="$PWD/keys.log"
: >keys.log
mkdir -p www/files
printf 'hello\n' >www/index.html
head -c 300000 /dev/zero | tr '\0' x >www/files/big.txt
head -c 3000 /dev/zero | tr '\0' y >www/small.txt
head -c 5000 /dev/zero >body
openssl req -x509 -newkey rsa:2048 -nodes -keyout rsa.key -out rsa.crt -days 30 -subj /CN=server.lab \
    -addext 'subjectAltName=DNS:server.lab,DNS:*.server.lab' 2>/dev/null
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ec.key -out ec.crt -days 30 \
    -subj /CN=client.lab 2>/dev/null

curl_quietly() {
    curl --silent --insecure --max-time 10 "$@" >/dev/null || true
}

# nginx, of which the others ask.
serve_nginx() {
    has 'servers of nginx' nginx || return 0
    cat >nginx.conf <<END
daemon off;
worker_processes 1;
pid $PWD/nginx.pid;
user root;
error_log stderr crit;
events {}
http {
    access_log off;
    client_body_temp_path $PWD/t1;
    proxy_temp_path $PWD/t2;
    fastcgi_temp_path $PWD/t3;
    uwsgi_temp_path $PWD/t4;
    scgi_temp_path $PWD/t5;
    default_type text/plain;
    gzip on;
    gzip_types text/plain;
    ssl_certificate $PWD/rsa.crt;
    ssl_certificate_key $PWD/rsa.key;
    server {
        listen 8080;
        listen [::]:8080;
        listen 8081 http2;
        listen 8082 proxy_protocol;
        listen 8443 ssl http2;
        listen [::]:8443 ssl http2;
        server_name server.lab;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:a:1m;
        root $PWD/www;
        location /posted { client_body_in_single_buffer on; return 200 "taken\n"; }
        location /moved { return 302 /files/big.txt; }
        location /broken { return 500; }
        location /empty { return 204; }
        location /upstream { proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://back/small.txt; }
    }
    upstream back { server 127.0.0.1:8080; keepalive 4; }
    server {
        listen 8444 ssl;
        server_name old.server.lab;
        ssl_protocols TLSv1.2;
        ssl_session_tickets off;
        ssl_session_cache shared:b:1m;
        ssl_verify_client optional_no_ca;
        root $PWD/www;
    }
}
END
    nginx -c "$PWD/nginx.conf" >/dev/null &
    listening 8080 8443 8444
}

# HTTP/1.1 and HTTP/2 of curl.
web() {
    has 'HTTP of curl' nginx curl || return 0
    here=127.0.0.1
    web=http://$here:8080
    # One connection for several requests, with a query and something that is not there.
    curl_quietly $web/ "$web/small.txt?a=1&b=2" $web/missing $web/empty
    curl_quietly $web/broken --next -s -o /dev/null -I $web/small.txt --next --silent -X DELETE $web/
    curl_quietly --location $web/moved
    curl_quietly --compressed $web/files/big.txt $web/small.txt
    curl_quietly --range 100-199 $web/files/big.txt $web/small.txt
    curl_quietly --data @body $web/posted $web/posted
    curl_quietly --header 'Expect: 100-continue' --data @body $web/posted
    curl_quietly --header 'Transfer-Encoding: chunked' --data @body $web/posted
    curl_quietly --http1.0 $web/small.txt
    curl_quietly $web/upstream $web/upstream/a
    curl_quietly 'http://[::1]:8080/small.txt' 'http://[::1]:8080/files/big.txt'
    curl_quietly --haproxy-protocol http://$here:8082/small.txt http://$here:8082/missing
    curl_quietly --user me:secret --cookie a=b "$web/small.txt?token=secret"
    # Requests sent without waiting for answers.
    {
        for path in / /small.txt /missing '/files/big.txt?again' /empty; do
            printf 'GET %s HTTP/1.1\r\nHost: server.lab\r\n\r\n' "$path"
        done
        printf 'GET /last HTTP/1.1\r\nHost: server.lab\r\nConnection: close\r\n\r\n'
    } >pipelined
    curl_quietly --no-buffer telnet://$here:8080 <pipelined
    # HTTP/2 that both know of.
    curl_quietly --http2-prior-knowledge http://$here:8081/ http://$here:8081/small.txt http://$here:8081/missing
    curl_quietly --http2-prior-knowledge --parallel --parallel-max 8 \
        "http://$here:8081/files/big.txt?[1-4]" "http://$here:8081/small.txt?[1-6]"
    curl_quietly --http2-prior-knowledge --data @body http://$here:8081/posted http://$here:8081/broken
    # Under TLS.
    named="--resolve server.lab:8443:$here --resolve www.server.lab:8443:$here --resolve old.server.lab:8444:$here"
    tls=https://server.lab:8443
    for version in 1.2 1.3; do
        for http in http1.1 http2; do
            curl_quietly $named --tls-max $version --tlsv$version --$http $tls/ $tls/small.txt $tls/missing "$tls/files/big.txt?a=b"
            curl_quietly $named --tls-max $version --tlsv$version --$http --data @body $tls/posted --next --silent \
                --insecure $named --head $tls/moved
        done
    done
    curl_quietly $named --parallel --parallel-max 6 "$tls/small.txt?[1-10]" "$tls/files/big.txt?[1-3]"
    curl_quietly $named https://www.server.lab:8443/ 'https://[::1]:8443/small.txt' https://$here:8443/
    curl_quietly $named --no-alpn $tls/small.txt
    curl_quietly $named --curves P-384 $tls/small.txt
    curl_quietly $named --ciphers ECDHE-RSA-CHACHA20-POLY1305 --tls-max 1.2 $tls/small.txt
    curl_quietly $named --tls13-ciphers TLS_CHACHA20_POLY1305_SHA256 $tls/small.txt
    curl_quietly $named --tls13-ciphers TLS_AES_128_GCM_SHA256 $tls/small.txt
    curl_quietly $named https://old.server.lab:8444/ https://old.server.lab:8444/small.txt
    curl_quietly $named --cert ec.crt --key ec.key https://old.server.lab:8444/small.txt
    # Refused: versions that differ, a certificate of nobody, plain HTTP for TLS.
    curl_quietly $named --tlsv1.3 https://old.server.lab:8444/
    curl --silent --output /dev/null $named $tls/ || true
    curl_quietly http://$here:8443/
}

# HTTP/2 of nghttp2: upgrades, many streams, pushes, trailers.
nghttp2() {
    has 'HTTP/2 of nghttp2' nghttpd nghttpx nghttp h2load nginx || return 0
    nghttpd --no-tls --htdocs "$PWD/www" --push /=/small.txt --trailer 'end: yes' 9080 >/dev/null 2>&1 &
    nghttpd --htdocs "$PWD/www" 9443 rsa.key rsa.crt >/dev/null 2>&1 &
    nghttpx --frontend '127.0.0.1,9081;no-tls' --backend 127.0.0.1,8080 --workers 1 --conf /dev/null >/dev/null 2>&1 &
    listening 9080 9081 9443
    nghttp --null-out http://127.0.0.1:9080/ http://127.0.0.1:9080/small.txt http://127.0.0.1:9080/none || true
    nghttp --null-out --upgrade http://127.0.0.1:9081/small.txt http://127.0.0.1:9081/ || true
    nghttp --null-out --upgrade http://127.0.0.1:9081/none || true
    nghttp --null-out --window-bits=10 --connection-window-bits=16 http://127.0.0.1:9080/files/big.txt || true
    nghttp --null-out --data body --trailer 'sum: 1' http://127.0.0.1:9080/small.txt || true
    nghttp --null-out --multiply 20 http://127.0.0.1:9080/small.txt || true
    nghttp --null-out --no-verify-peer https://127.0.0.1:9443/ https://127.0.0.1:9443/files/big.txt || true
    nghttp --null-out --no-verify-peer --continuation https://127.0.0.1:9443/small.txt || true
    h2load --requests 60 --clients 6 --max-concurrent-streams 5 http://127.0.0.1:9080/small.txt >/dev/null 2>&1 || true
    h2load --requests 40 --clients 4 https://127.0.0.1:9443/small.txt >/dev/null 2>&1 || true
    h2load --h1 --requests 40 --clients 4 http://127.0.0.1:8080/small.txt >/dev/null 2>&1 || true
}

# s_client with something to ask, and these arguments.
ask() {
    printf 'GET / HTTP/1.0\r\n\r\n' | timeout 10 openssl s_client -quiet -keylogfile keys.log "$@" >/dev/null 2>&1 || true
}

# Each version, suite, group and way of resuming that OpenSSL has.
tls() {
    any='-cipher ALL:@SECLEVEL=0'
    serve() {
        openssl s_server -quiet -accept "$@" </dev/null >/dev/null 2>&1 &
    }
    serve 4433 -www -key rsa.key -cert rsa.crt $any -min_protocol TLSv1 -alpn http/1.0,h2
    serve 4434 -www -key rsa.key -cert rsa.crt -no_ticket -alpn http/1.0
    serve 4435 -www -key ec.key -cert ec.crt -verify 1
    serve 4436 -www -key ec.key -cert ec.crt -groups P-384
    serve 4437 -www -nocert -psk 0a0b0c -allow_no_dhe_kex
    # It reads what it is to say, and ends with it.
    mkfifo mute
    sleep 600 >mute &
    openssl s_server -quiet -accept 4438 -key rsa.key -cert rsa.crt -early_data -max_early_data 4096 \
        <mute >/dev/null 2>&1 &
    listening 4433 4434 4435 4436 4437 4438
    for version in tls1 tls1_1 tls1_2 tls1_3; do
        ask -connect 127.0.0.1:4433 -$version $any -servername $version.server.lab -alpn h2,http/1.0
        ask -connect 127.0.0.1:4433 -$version $any -noservername -sess_out $version.session
        ask -connect 127.0.0.1:4433 -$version $any -noservername -sess_in $version.session
    done
    for suite in AES128-SHA AES256-SHA256 AES128-GCM-SHA256 DHE-RSA-AES128-SHA DHE-RSA-AES256-GCM-SHA384 \
        ECDHE-RSA-AES256-SHA384 ECDHE-RSA-AES128-GCM-SHA256 ECDHE-RSA-CHACHA20-POLY1305 ADH-AES128-SHA256 \
        AES128-CCM AES256-CCM AES128-CCM8 AES256-CCM8 DHE-RSA-AES128-CCM DHE-RSA-AES256-CCM8; do
        ask -connect 127.0.0.1:4433 -tls1_2 -cipher $suite:@SECLEVEL=0 -servername suite.server.lab
    done
    for suite in TLS_AES_128_GCM_SHA256 TLS_AES_256_GCM_SHA384 TLS_CHACHA20_POLY1305_SHA256 TLS_AES_128_CCM_SHA256 \
        TLS_AES_128_CCM_8_SHA256; do
        ask -connect 127.0.0.1:4433 -tls1_3 -ciphersuites $suite -servername suite.server.lab
    done
    for group in X25519 P-256 P-384 P-521 X448 ffdhe2048; do
        ask -connect 127.0.0.1:4433 -tls1_3 -groups $group -servername group.server.lab
        ask -connect 127.0.0.1:4436 -groups X25519:$group:P-384
    done
    for version in tls1_2 tls1_3; do
        ask -connect 127.0.0.1:4434 -$version -sess_out $version.own -servername own.server.lab -alpn http/1.0
        ask -connect 127.0.0.1:4434 -$version -sess_in $version.own -servername own.server.lab -alpn http/1.0
        ask -connect 127.0.0.1:4435 -$version -cert rsa.crt -key rsa.key
        ask -connect 127.0.0.1:4435 -$version -status
    done
    ask -connect 127.0.0.1:4437 -tls1_3 -psk 0a0b0c
    ask -connect 127.0.0.1:4437 -tls1_2 -psk 0a0b0c
    # Nobody to agree with.
    ask -connect 127.0.0.1:4434 -tls1_1 $any
    ask -connect 127.0.0.1:4434 -tls1_2 -cipher ECDHE-ECDSA-AES128-SHA
    ask -connect 127.0.0.1:4436 -tls1_3 -groups X25519
    ask -connect 127.0.0.1:4435 -verify 1 -verify_return_error
    # DTLS, with and without a HelloVerifyRequest.
    openssl s_server -quiet -accept 4439 -dtls -listen -key rsa.key -cert rsa.crt -cipher ALL:@SECLEVEL=0 \
        <mute >/dev/null 2>&1 &
    openssl s_server -quiet -accept 4440 -dtls1_2 -mtu 500 -key ec.key -cert ec.crt <mute >/dev/null 2>&1 &
    datagrams() {
        printf 'hello\n' | timeout 5 openssl s_client -dtls1_2 "$@" >/dev/null 2>&1 || true
    }
    datagrams -connect 127.0.0.1:4439 -servername dtls.server.lab -alpn coap
    datagrams -connect 127.0.0.1:4440 -cipher ECDHE-ECDSA-AES128-GCM-SHA256
    datagrams -connect 127.0.0.1:4440 -mtu 300 -noservername
    early() {
        # The server says nothing: the client ends when it has read the ticket and nothing else comes.
        { printf 'hello\n'; sleep 0.2; } | timeout 10 openssl s_client -keylogfile keys.log -tls1_3 \
            -connect 127.0.0.1:4438 "$@" >/dev/null 2>&1 || true
    }
    early -sess_out early.session
    early -sess_in early.session -early_data www/small.txt
    early -sess_out other.session
    # More than the server takes.
    early -sess_in other.session -early_data body
}

# Lookups of all outcomes, over UDP and TCP, by dig and by curl.
names() {
    has 'names of dnsmasq and dig' dnsmasq dig || return 0
    long=$(head -c 240 /dev/zero | tr '\0' z)
    set --
    for _ in 1 2 3 4 5 6 7 8; do set -- "$@" --txt-record="long.lab,$long"; done
    dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --pid-file --no-hosts --no-resolv --port=53 \
        --host-record=server.lab,127.0.0.1,::1,300 --host-record=other.lab,192.0.2.7,60 --cname=alias.lab,other.lab \
        --cname=far.lab,alias.lab --txt-record=text.lab,hello --mx-host=lab,mail.lab,10 --srv-host=_http._tcp.lab,server.lab,8080 \
        --local=/lab/ --server=/lost.test/127.0.0.1#5 "$@" >/dev/null 2>&1 &
    listening 53
    q='@127.0.0.1 +tries=1 +time=1'
    for switches in '' +tcp; do
        dig $q $switches server.lab A server.lab AAAA other.lab A alias.lab A far.lab A text.lab TXT lab MX \
            _http._tcp.lab SRV none.lab A other.lab AAAA 1.0.0.127.in-addr.arpa PTR outside.test A >/dev/null || true
    done
    dig $q +tcp +keepopen server.lab A none.lab A far.lab A long.lab TXT >/dev/null || true
    dig $q long.lab TXT >/dev/null || true
    dig $q +noedns long.lab TXT >/dev/null || true
    dig $q +dnssec +nsid +cookie +subnet=192.0.2.0/24 sErVeR.lAb A >/dev/null || true
    dig @::1 +tries=1 +time=1 server.lab AAAA >/dev/null || true
    dig $q lost.test A >/dev/null || true
    if has 'names for curl' curl nginx; then
        echo nameserver 127.0.0.1 >resolv.conf
        # In a namespace of mounts of its own: ip netns exec has made one.
        mount --bind resolv.conf /etc/resolv.conf && {
            curl_quietly http://server.lab:8080/small.txt http://none.lab:8080/
            curl_quietly --ipv4 https://server.lab:8443/small.txt
        }
    fi
}

# Commands of all kinds to Redis, one after the other and in batches.
redis() {
    has 'commands of Redis' redis-server redis-cli redis-benchmark || return 0
    redis-server --port 6379 --save '' --appendonly no --dir "$PWD" >/dev/null 2>&1 &
    listening 6379
    printf '%s\n' 'SET a 1' 'GET a' 'INCR b' 'LPUSH a x' 'GET none' 'HSET h f v g w' 'HGETALL h' 'MGET a b none' MULTI \
        'INCR b' EXEC NONSENSE 'SCAN 0' 'EVAL "return {1,2,{3}}" 0' | redis-cli >/dev/null
    printf '%s\n' 'SET a 1' 'HGETALL h' 'CONFIG GET save' 'BLPOP q 0.05' | redis-cli -3 >/dev/null
    redis-benchmark -n 200 -c 2 -P 5 -t set,get,lrange_100 -q >/dev/null 2>&1
    redis-cli -x SET long <www/small.txt >/dev/null
    redis-cli GET long >/dev/null
}

# Commands to memcached, a segment each, those that tshark counts; their data come with them.
memcached_text() {
    has 'commands of memcached' memcached curl || return 0
    memcached -u root -l 127.0.0.1 -p 11211 -U 0 >/dev/null 2>&1 &
    listening 11211
    for command in 'set a 0 0 5\r\nhello' 'set n 0 0 1\r\n1' 'incr n 4' 'incr none 1' 'append a 0 0 1\r\nx' 'delete a' \
        'delete none' version flush_all quit; do
        printf "$command\\r\\n"
    done | curl --silent telnet://127.0.0.1:11211 >/dev/null
}

# Messages of each quality of service in each version of MQTT.
mqtt() {
    has 'messages of mosquitto' mosquitto mosquitto_pub mosquitto_sub || return 0
    mosquitto -p 1883 >/dev/null 2>&1 &
    listening 1883
    for version in mqttv31 mqttv311 mqttv5; do
        mosquitto_sub -V $version -i sub$version -t "$version/#" -q 2 -C 3 -W 5 >/dev/null 2>&1 &
        for quality in 0 1 2; do
            mosquitto_pub -V $version -i pub$quality -t $version/a -q $quality -m "hello $quality" -r || true
        done
    done
    mosquitto_pub -i big -t big -f www/files/big.txt -q 1 || true
    mosquitto_pub -i me -t t -m x -u me -P secret || true
}

serve_nginx
for part in web nghttp2 tls names redis memcached_text mqtt; do
    $part &
    parts="${parts-} $!"
done
# The servers go on.
wait $parts
