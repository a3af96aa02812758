/*
 * ssepub - minimal-cost publisher: POSTs M events of S bytes, paced or flat out.
 *
 *   cc -O2 -Wall -Wextra -o ssepub ssepub.c
 *
 * Body of one event (padded to --size bytes, fresh timestamp at send time):
 *   {"type":"log","t":<ns since epoch>,"n":<1..M>,"message":"xxxx"}
 * With --batch B each POST carries B such lines, LF-separated (NDJSON).
 *
 * --rate R  R events/s on an absolute schedule, open loop (does not wait for
 *           responses).  --rate 0: flat out, closed loop with --depth requests
 *           outstanding (HTTP pipelining) on each of --conns connections.
 * One connection keeps the order of "n"; with several the order is not defined.
 * Prints one JSON object: posts, events, non-2xx, duration, events/s, response
 * latency p50/p99.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static uint64_t ns(clockid_t c) { struct timespec t; clock_gettime(c, &t); return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec; }
#define MONO() ns(CLOCK_MONOTONIC)

#define RB 65536
#define QMAX 65536
struct pc { int fd; size_t rl; char rb[RB]; unsigned qh, qt; uint64_t *q; int chunked; };
static struct { const char *host, *path, *ctype, *type; int port, size, conns, depth, batch, runs, quiet; long events; double rate, delay; } o =
    { "127.0.0.1", "/", "application/json", "log", 8080, 200, 1, 1, 1, 1, 0, 1, 0, 0 };
static char extra[4096], *out;
static long sent_ev, sent_posts, done_posts, bad;
static uint32_t *lat; static long nlat;

static int cmp(const void *a, const void *b) { uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b; return x < y ? -1 : x > y; }

static void post(struct pc *c)
{
    static char body[1 << 22]; char path[1024]; size_t bl = 0;
    const char *ph = strstr(o.path, "{i}");                 /* {i} -> event number % --runs */
    if (ph) snprintf(path, sizeof path, "%.*s%ld%s", (int)(ph - o.path), o.path, sent_posts % o.runs, ph + 3);
    else snprintf(path, sizeof path, "%s", o.path);
    for (int i = 0; i < o.batch && sent_ev < o.events; i++) {
        if (i) body[bl++] = '\n';
        int n = sprintf(body + bl, "{\"type\":\"%s\",\"t\":%llu,\"n\":%ld,\"message\":\"", o.type, (unsigned long long)ns(CLOCK_REALTIME), ++sent_ev);
        int pad = o.size - n - 2; if (pad < 0) pad = 0;
        memset(body + bl + n, 'x', (size_t)pad);
        memcpy(body + bl + n + pad, "\"}", 2);
        bl += (size_t)(n + pad + 2);
    }
    int h = sprintf(out, "POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s\r\n", path, o.host, o.port, o.ctype, bl, extra);
    memcpy(out + h, body, bl);
    size_t len = (size_t)h + bl, off = 0;
    c->q[c->qt++ % QMAX] = MONO(); sent_posts++;
    while (off < len) {                                      /* blocking socket: back-pressure of the server */
        ssize_t r = send(c->fd, out + off, len - off, MSG_NOSIGNAL);
        if (r < 0) { if (errno == EINTR) continue; perror("send"); exit(1); }
        off += (size_t)r;
    }
}

/* consume complete responses; returns 0 when the peer closed */
static int drain(struct pc *c)
{
    ssize_t r = recv(c->fd, c->rb + c->rl, RB - 1 - c->rl, MSG_DONTWAIT);
    if (r == 0) return 0;
    if (r < 0) return errno == EAGAIN || errno == EINTR;
    c->rl += (size_t)r; c->rb[c->rl] = 0;
    char *p = c->rb, *e;
    while ((e = strstr(p, "\r\n\r\n"))) {
        int status = atoi(p + 9); size_t cl = 0; int chunked = 0; char *b = e + 4;
        for (char *l = p; l && l < e; l = strstr(l, "\r\n"), l = l ? l + 2 : l) {
            if (!strncasecmp(l, "content-length:", 15)) cl = (size_t)atol(l + 15);
            if (!strncasecmp(l, "transfer-encoding: chunked", 26)) chunked = 1;
        }
        if (chunked) { char *z = !strncmp(b, "0\r\n\r\n", 5) ? b : strstr(b, "\r\n0\r\n\r\n"); if (!z) break; b = z + (z == b ? 5 : 7); }
        else { if ((size_t)(c->rb + c->rl - b) < cl) break; b += cl; }
        p = b;
        if (status < 200 || status > 299) { if (!bad++) fprintf(stderr, "ssepub: status %d\n", status); }
        lat[nlat++] = (uint32_t)((MONO() - c->q[c->qh++ % QMAX]) / 100);
        done_posts++;
    }
    size_t left = (size_t)(c->rb + c->rl - p);
    memmove(c->rb, p, left + 1); c->rl = left;
    return 1;
}

int main(int argc, char **argv)
{
    enum { HOST = 1, PORT, PATH, SIZE, EVENTS, RATE, CONNS, DEPTH, BATCH, HDR, CT, RUNS, TYPE, DELAY, QUIET };
    static const struct option lo[] = { {"host",1,0,HOST},{"port",1,0,PORT},{"path",1,0,PATH},{"size",1,0,SIZE},{"events",1,0,EVENTS},
        {"rate",1,0,RATE},{"conns",1,0,CONNS},{"depth",1,0,DEPTH},{"batch",1,0,BATCH},{"header",1,0,HDR},{"ctype",1,0,CT},{"runs",1,0,RUNS},{"type",1,0,TYPE},
        {"delay",1,0,DELAY},{"quiet",0,0,QUIET},{0,0,0,0} };
    int k;
    while ((k = getopt_long_only(argc, argv, "", lo, NULL)) != -1) switch (k) {
        case HOST: o.host = optarg; break; case PORT: o.port = atoi(optarg); break; case PATH: o.path = optarg; break;
        case SIZE: o.size = atoi(optarg); break; case EVENTS: o.events = atol(optarg); break; case RATE: o.rate = atof(optarg); break;
        case CONNS: o.conns = atoi(optarg); break; case DEPTH: o.depth = atoi(optarg); break; case BATCH: o.batch = atoi(optarg); break;
        case CT: o.ctype = optarg; break; case RUNS: o.runs = atoi(optarg); break; case TYPE: o.type = optarg; break; case DELAY: o.delay = atof(optarg); break;
        case QUIET: o.quiet = 1; break;
        case HDR: { size_t l = strlen(extra); snprintf(extra + l, sizeof extra - l, "%s\r\n", optarg); break; }
        default: fprintf(stderr, "ssepub --port P --path /p --events M --size S --rate R [--conns C --depth D --batch B --runs K --header H --ctype T --type T --delay S]\n"); return 1;
    }
    if (o.events < 1 || o.conns < 1 || o.depth < 1 || o.batch < 1 || (long)o.size * o.batch > 4000000) return 1;
    out = malloc((1 << 22) + 16384);
    lat = malloc(sizeof *lat * (size_t)(o.events + 16));
    struct pc *c = calloc((size_t)o.conns, sizeof *c);
    struct pollfd *pf = calloc((size_t)o.conns, sizeof *pf);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)o.port) };
    inet_pton(AF_INET, o.host, &a.sin_addr);
    for (int i = 0; i < o.conns; i++) {
        int one = 1;
        c[i].fd = socket(AF_INET, SOCK_STREAM, 0); c[i].q = calloc(QMAX, sizeof(uint64_t));
        if (connect(c[i].fd, (struct sockaddr *)&a, sizeof a)) { perror("connect"); return 1; }
        setsockopt(c[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        pf[i].fd = c[i].fd; pf[i].events = POLLIN;
    }
    if (o.delay > 0) usleep((useconds_t)(o.delay * 1e6));
    long posts = (o.events + o.batch - 1) / o.batch;
    uint64_t t0 = MONO(); int alive = 1;
    if (o.rate > 0) {
        double step = 1e9 * o.batch / o.rate;
        for (long i = 0; (i < posts || done_posts < posts) && alive;) {
            uint64_t due = t0 + (uint64_t)((double)i * step), t = MONO();
            if (i < posts && t >= due && sent_posts - done_posts < QMAX - 1) { post(&c[i % o.conns]); i++; continue; }
            struct timespec w = { 0, 0 };
            if (i < posts) { uint64_t d = due > t ? due - t : 0; w.tv_sec = (time_t)(d / 1000000000ull); w.tv_nsec = (long)(d % 1000000000ull); }
            else w.tv_sec = 10;
            int n = ppoll(pf, (nfds_t)o.conns, &w, NULL);
            if (n == 0 && i >= posts) break;
            for (int j = 0; n > 0 && j < o.conns; j++) if (pf[j].revents) alive &= drain(&c[j]);
        }
    } else {
        for (int d = 0; d < o.depth; d++) for (int i = 0; i < o.conns && sent_posts < posts; i++) post(&c[i]);
        while (done_posts < posts && alive) {
            int n = poll(pf, (nfds_t)o.conns, 30000);
            if (n == 0) break;
            for (int j = 0; j < o.conns; j++) if (pf[j].revents) {
                long before = done_posts;
                alive &= drain(&c[j]);
                for (long m = done_posts - before; m > 0 && sent_posts < posts; m--) post(&c[j]);
            }
        }
    }
    double s = (double)(MONO() - t0) / 1e9;
    qsort(lat, (size_t)nlat, sizeof *lat, cmp);
    if (!o.quiet) fprintf(stderr, "{\"posts\":%ld,\"answered\":%ld,\"events\":%ld,\"non2xx\":%ld,\"seconds\":%.4f,\"events_per_s\":%.0f,\"resp_p50_us\":%.1f,\"resp_p99_us\":%.1f}\n",
        sent_posts, done_posts, sent_ev, bad, s, (double)sent_ev / s, nlat ? lat[nlat / 2] / 10.0 : 0, nlat ? lat[nlat * 99 / 100] / 10.0 : 0);
    return done_posts == posts && !bad ? 0 : 2;
}
