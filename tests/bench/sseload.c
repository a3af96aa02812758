/*
 * sseload - a small, self-contained SSE (Server-Sent Events) load generator.
 *
 * One thread, one epoll instance, non-blocking sockets, no allocation after
 * start-up (one fixed-size struct per connection, one shared receive buffer).
 *
 *   cc -O2 -Wall -Wextra -o sseload sseload.c
 *
 * Phases
 *   1. connect   open --conns connections, at most --inflight unanswered at a
 *                time, source addresses 127.0.0.1 .. 127.0.0.<srcs> (so more
 *                than ~28k connections fit in the ephemeral port range).
 *   2. ready     every connection has its response headers and --warm events
 *                (for example a snapshot).  "READY" goes to stderr; --ready-file
 *                is created; --trigger (a shell command, usually the publisher)
 *                is started.
 *   3. measure   count complete events ("data:" ... blank line), comments
 *                (heartbeats), bytes; build the latency histogram from the
 *                field "t":<ns since the epoch> of the data; check order with
 *                the field "n":<sequence number> when it is there.
 *                Ends when every connection has --events events, or after
 *                --timeout seconds, or (with --hold S) after S seconds.
 *   4. report    one JSON object on stdout.  Exit 0 = complete, 2 = events
 *                lost, 1 = could not set up.
 *
 * The body may be chunked (HTTP/1.1), length-delimited or read-to-close; lines
 * may end in LF or CRLF.  Field values may be cut at any byte by TCP: the
 * parser keeps its whole state in struct conn.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- clock -------------------------------------------------------------- */
static inline uint64_t now_ns(clockid_t c)
{
    struct timespec ts;
    clock_gettime(c, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}
#define WALL() now_ns(CLOCK_REALTIME)   /* comparable with the payload's "t" */
#define MONO() now_ns(CLOCK_MONOTONIC)

/* ---- latency histogram: log-linear, 64 steps per power of two (<1.6 %) --- */
#define H_SUB 64
#define H_LEN ((64 - 6 + 1) * H_SUB)
static uint64_t hist[H_LEN], hist_n, hist_max, hist_neg;
static double hist_sum;
static inline int h_index(uint64_t v)
{
    if (v < H_SUB) return (int)v;
    int e = 63 - __builtin_clzll(v);                    /* e >= 6 */
    return (e - 5) * H_SUB + (int)((v >> (e - 6)) - H_SUB);
}
static inline uint64_t h_value(int i)                   /* upper edge */
{
    if (i < H_SUB) return (uint64_t)i;
    int e = i / H_SUB + 5;
    return ((uint64_t)(i % H_SUB + H_SUB + 1) << (e - 6)) - 1;
}
static double h_pct_us(double p)
{
    uint64_t want = (uint64_t)(p / 100.0 * (double)hist_n + 0.9999999), seen = 0;
    if (!hist_n) return 0;
    if (want < 1) want = 1;
    for (int i = 0; i < H_LEN; i++)
        if ((seen += hist[i]) >= want) {
            uint64_t v = h_value(i);
            return (double)(v < hist_max ? v : hist_max) / 1e3;
        }
    return (double)hist_max / 1e3;
}

/* ---- connection --------------------------------------------------------- */
enum { C_NEW, C_CONNECTING, C_HEAD, C_BODY, C_DEAD };           /* c->phase */
enum { K_NONE, K_SIZE, K_EXT, K_DATA, K_CRLF, K_TRAILER };      /* c->chunk */
enum { L_START, L_DATA, L_SKIP, L_COMMENT };                    /* c->line  */
struct conn {
    int      fd;
    uint8_t  phase, chunk, line, slow;
    uint8_t  pfx;          /* how much of "data:" has matched at line start  */
    uint8_t  has_data;     /* this event has seen a data line                */
    uint8_t  m, mkey;      /* matcher for "t": / "n": -- state and which key  */
    uint8_t  got;          /* bit 0: t seen, bit 1: n seen (this event)       */
    uint8_t  hl, status_ok;
    char     hline[40];    /* start of the current header line, lower case   */
    uint64_t chunk_left, num, t, n;
    uint64_t next_n;       /* expected sequence number, 0 = none yet         */
    uint64_t order, sum;   /* with --any-order: of all numbers, as they came */
    uint32_t events, warmed, idx;
};

static struct conn *conns;
static struct { const char *host, *path, *trigger, *ready_file; int port, conns, srcs, inflight, warm,
    runs, step, any_order, slow, slow_rate, rcvbuf, pid, quiet; long events; double timeout, hold; } o = {
    .host = "127.0.0.1", .path = "/", .port = 8080, .conns = 1, .srcs = 0, .inflight = 64,
    .runs = 1, .step = 1, .timeout = 30 };
static char extra[4096];
static int ep, n_ready, n_failed, n_closed, n_inflight, next_conn;
static int measuring;
static uint64_t g_events, g_bytes, g_comments, g_first, g_last, g_reorder, g_gap, g_done_conns, g_recv_calls;
static uint64_t g_not200, g_slow_events;
static char buf[1 << 18];

static inline void on_event(struct conn *c, uint64_t wall)
{
    if (c->warmed < (uint32_t)o.warm) {
        if (c->got & 2) { if (c->next_n && c->n != c->next_n) g_reorder++; c->next_n = c->n + (uint64_t)o.step; }
        if (++c->warmed == (uint32_t)o.warm) { n_ready++; n_inflight--; }
        return;
    }
    if (!measuring) return;
    if (c->slow) {                    /* may be given less, but never an older one */
        g_slow_events++;
        if (c->got & 2) { if (c->n < c->next_n) g_reorder++; c->next_n = c->n + 1; }
        return;
    }
    if (!g_first) g_first = MONO();
    c->events++;
    g_events++;
    if (c->events == (uint32_t)o.events) g_done_conns++;
    if (c->got & 1) {
        if (wall >= c->t) {
            uint64_t d = wall - c->t;
            hist[h_index(d)]++; hist_n++; hist_sum += (double)d;
            if (d > hist_max) hist_max = d;
        } else hist_neg++;
    }
    if (o.any_order) {
        c->order = (c->order + c->n) * 0x9e3779b97f4a7c15ull; c->sum += c->n;
    } else if (c->got & 2) {          /* sequence check: gap or reordering   */
        if (c->next_n && c->n != c->next_n) { if (c->n < c->next_n) g_reorder++; else g_gap += c->n - c->next_n; }
        c->next_n = c->n + (uint64_t)o.step;
    }
}

/* Decoded body bytes -> SSE lines.  State survives arbitrary cuts. */
static void sse_feed(struct conn *c, const char *p, const char *e, uint64_t wall)
{
    static const char DATA[] = "data:";
    while (p < e) {
        switch (c->line) {
        case L_START:
            if (c->pfx == 0) {
                if (*p == '\r') { p++; continue; }              /* CRLF: LF decides */
                if (*p == '\n') {                                 /* blank line: dispatch */
                    p++;
                    if (c->has_data) on_event(c, wall);
                    c->has_data = 0; c->got = 0; c->m = 0;
                    continue;
                }
                if (*p == ':') { c->line = L_COMMENT; p++; continue; }
            }
            if (*p == DATA[c->pfx]) {
                p++;
                if (++c->pfx == 5) { c->line = L_DATA; c->has_data = 1; c->pfx = 0; c->m = 0; }
            } else { c->line = L_SKIP; c->pfx = 0; }
            break;
        case L_DATA:
            /* look for "t":digits and "n":digits until both are known */
            while (p < e && c->got != 3) {
                char ch = *p;
                if (ch == '\n') break;
                switch (c->m) {
                case 0: if (ch == '"') c->m = 1; break;
                case 1:
                    if (ch == 't' || ch == 'n') { c->mkey = ch == 't' ? 1 : 2; c->m = (c->got & c->mkey) ? 0 : 2; }
                    else c->m = ch == '"';
                    break;
                case 2: c->m = ch == '"' ? 3 : 0; break;
                case 3: if (ch == ':') { c->m = 4; c->num = 0; } else c->m = 0; break;
                case 4: if (ch >= '0' && ch <= '9') { c->num = c->num * 10 + (uint64_t)(ch - '0'); }
                        else if (ch == ' ' && c->num == 0) { }
                        else {
                            if (c->mkey == 1) c->t = c->num; else c->n = c->num;
                            c->got |= c->mkey; c->m = ch == '"' ? 1 : 0;
                        }
                        break;
                }
                p++;
            }
            if (p < e) {
                const char *nl = memchr(p, '\n', (size_t)(e - p));
                if (nl) { p = nl + 1; c->line = L_START; c->m = 0; } else p = e;
            }
            break;
        default: {                                                /* L_SKIP, L_COMMENT */
            const char *nl = memchr(p, '\n', (size_t)(e - p));
            if (!nl) { p = e; break; }
            p = nl + 1;
            if (c->line == L_COMMENT && measuring) g_comments++;
            c->line = L_START;
            break; }
        }
    }
}

static void body_feed(struct conn *c, const char *p, const char *e, uint64_t wall)
{
    if (c->chunk == K_NONE) { sse_feed(c, p, e, wall); return; }
    while (p < e) {
        switch (c->chunk) {
        case K_SIZE: {
            int ch = *p++ | 0x20, d;                              /* digits unchanged by |0x20 */
            if (ch >= '0' && ch <= '9') d = ch - '0';
            else if (ch >= 'a' && ch <= 'f') d = ch - 'a' + 10;
            else { p--; c->chunk = K_EXT; break; }
            c->chunk_left = c->chunk_left * 16 + (uint64_t)d;
            break; }
        case K_EXT: {
            const char *nl = memchr(p, '\n', (size_t)(e - p));
            if (!nl) { p = e; break; }
            p = nl + 1;
            c->chunk = c->chunk_left ? K_DATA : K_TRAILER;
            break; }
        case K_DATA: {
            uint64_t k = (uint64_t)(e - p) < c->chunk_left ? (uint64_t)(e - p) : c->chunk_left;
            sse_feed(c, p, p + k, wall);
            p += k; c->chunk_left -= k;
            if (!c->chunk_left) c->chunk = K_CRLF;
            break; }
        case K_CRLF:
            if (*p++ == '\n') { c->chunk = K_SIZE; c->chunk_left = 0; }
            break;
        default: p = e;                                           /* after the last chunk */
        }
    }
}

static const char *head_feed(struct conn *c, const char *p, const char *e)
{
    for (; p < e; p++) {
        if (*p == '\n') {
            c->hline[c->hl] = 0;
            if (c->hl == 0) {                                     /* end of headers */
                c->phase = C_BODY;
                if (!c->status_ok) g_not200++;
                if (!o.warm) { n_ready++; n_inflight--; }
                return p + 1;
            }
            if (!strncmp(c->hline, "http/1.", 7)) c->status_ok = !strncmp(c->hline + 8, " 200", 4);
            else if (!strncmp(c->hline, "transfer-encoding:", 18) && strstr(c->hline + 18, "chunked")) c->chunk = K_SIZE;
            c->hl = 0;
        } else if (*p != '\r' && c->hl < sizeof c->hline - 1)
            c->hline[c->hl++] = (char)((*p >= 'A' && *p <= 'Z') ? *p + 32 : *p);
    }
    return p;
}

static void conn_dead(struct conn *c)
{
    if (c->phase == C_DEAD) return;
    int ready = c->phase == C_BODY && c->warmed >= (uint32_t)o.warm;
    if (!ready) { n_failed++; n_inflight--; } else n_closed++;
    c->phase = C_DEAD;
    close(c->fd);
}

static int conn_open(struct conn *c, const struct sockaddr_in *dst)
{
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) { perror("socket (ulimit -n?)"); exit(1); }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (o.rcvbuf && (c->slow || !o.slow)) setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &o.rcvbuf, sizeof o.rcvbuf);
    struct sockaddr_in src = { .sin_family = AF_INET };
    src.sin_addr.s_addr = htonl(0x7f000001u + (uint32_t)(c->idx % (unsigned)o.srcs));
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(c->fd, (struct sockaddr *)&src, sizeof src)) { perror("bind"); exit(1); }
    c->phase = C_CONNECTING;
    if (connect(c->fd, (const struct sockaddr *)dst, sizeof *dst) && errno != EINPROGRESS) { perror("connect"); conn_dead(c); return -1; }
    struct epoll_event ev = { .events = EPOLLOUT | EPOLLIN | EPOLLRDHUP, .data.u32 = c->idx };
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev);
    return 0;
}

static void send_request(struct conn *c)
{
    char req[8192], path[2048];
    const char *ph = strstr(o.path, "{i}");                       /* {i} -> connection index % --runs */
    if (ph) snprintf(path, sizeof path, "%.*s%u%s", (int)(ph - o.path), o.path, c->idx % (unsigned)o.runs, ph + 3);
    else snprintf(path, sizeof path, "%s", o.path);
    int n = snprintf(req, sizeof req, "GET %s HTTP/1.1\r\nHost: %s:%d\r\nAccept: text/event-stream\r\n"
                     "Cache-Control: no-cache\r\n%s\r\n", path, o.host, o.port, extra);
    if (send(c->fd, req, (size_t)n, MSG_NOSIGNAL) != n) { conn_dead(c); return; }
    c->phase = C_HEAD;
    struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP, .data.u32 = c->idx };
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);
}

static void conn_event(struct conn *c, uint32_t ev)
{
    if (c->phase == C_DEAD) return;
    if (c->phase == C_CONNECTING) {
        int err = 0; socklen_t l = sizeof err;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &l);
        if (err) { if (!o.quiet) fprintf(stderr, "connect: %s\n", strerror(err)); conn_dead(c); return; }
        if (ev & EPOLLOUT) send_request(c);
        return;
    }
    ssize_t r = recv(c->fd, buf, sizeof buf, 0);
    g_recv_calls++;
    if (r <= 0) { if (r == 0 || (errno != EAGAIN && errno != EINTR)) conn_dead(c); return; }
    uint64_t wall = WALL();
    const char *p = buf, *e = buf + r;
    if (measuring) g_bytes += (uint64_t)r;
    if (c->phase == C_HEAD) p = head_feed(c, p, e);
    if (c->phase == C_BODY && p < e) body_feed(c, p, e, wall);
    if (c->slow && c->phase == C_BODY && c->warmed >= (uint32_t)o.warm)     /* from now on read by read_slowly() */
        epoll_ctl(ep, EPOLL_CTL_DEL, c->fd, NULL);
}

#define TICK 50                                                   /* milliseconds between two small reads */
static void read_slowly(struct conn *c)
{
    if (c->phase != C_BODY || !o.slow_rate) return;
    ssize_t r = recv(c->fd, buf, (size_t)o.slow_rate * TICK / 1000, 0);
    if (r == 0 || (r < 0 && errno != EAGAIN && errno != EINTR)) { conn_dead(c); return; }
    if (r > 0) body_feed(c, buf, buf + r, WALL());
}

static int read_proc(int pid, double *cpu, double *rss_mb)        /* CPU seconds and RSS of the server */
{
    char f[64], line[1024]; FILE *fp;
    snprintf(f, sizeof f, "/proc/%d/stat", pid);
    if (!(fp = fopen(f, "r"))) return -1;
    if (!fgets(line, sizeof line, fp)) { fclose(fp); return -1; }
    fclose(fp);
    char *q = strrchr(line, ')'); long rss; clockid_t clock; struct timespec t;
    if (!q || sscanf(q + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %*u %*u %ld", &rss) != 1) return -1;
    if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t)) return -1;    /* to the nanosecond, where stat has ticks */
    *cpu = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
    *rss_mb = (double)rss * (double)sysconf(_SC_PAGESIZE) / 1048576.0;
    return 0;
}
static double self_cpu(void)
{
    struct rusage u; getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void usage(void)
{
    fprintf(stderr,
      "sseload [options]\n"
      "  --host A --port P --path /p     target; {i} in the path = connection index %% --runs\n"
      "  --runs K                        number of distinct paths (default 1)\n"
      "  --conns N                       connections (default 1)\n"
      "  --srcs X                        source addresses 127.0.0.1..X (default: enough)\n"
      "  --inflight N                    unanswered connects at a time (default 64)\n"
      "  --header 'Name: v'              extra request header (repeatable)\n"
      "  --warm K                        events per connection before READY, not counted (default 0)\n"
      "  --events M                      events expected per connection\n"
      "  --timeout S                     limit for the measure phase (default 30)\n"
      "  --hold S                        no target: keep the connections S seconds\n"
      "  --step D                        what \"n\" grows by from event to event of one path (default 1)\n"
      "  --any-order                     several publishers: the same order for all viewers of a path, each number once\n"
      "  --slow K                        the first K connections read slowly once ready, and are not counted\n"
      "  --slow-rate B                   bytes a second that each of them reads (default 0)\n"
      "  --rcvbuf B                      SO_RCVBUF of each connection, or of the slow ones\n"
      "  --trigger 'cmd'                 shell command to start when READY (publisher)\n"
      "  --ready-file F                  created when READY\n"
      "  --pid P                         report CPU and RSS of this process\n");
    exit(1);
}

int main(int argc, char **argv)
{
    enum { HOST = 1, PORT, PATH, RUNS, CONNS, SRCS, INFL, HDR, WARM, EVENTS, TMO, HOLD, STEP, ANY, SLOW, SLOWR, RCVB, TRIG, RDY, PID, QUIET };
    static const struct option lo[] = { {"host",1,0,HOST},{"port",1,0,PORT},{"path",1,0,PATH},{"runs",1,0,RUNS},
        {"conns",1,0,CONNS},{"srcs",1,0,SRCS},{"inflight",1,0,INFL},{"header",1,0,HDR},{"warm",1,0,WARM},
        {"events",1,0,EVENTS},{"timeout",1,0,TMO},{"hold",1,0,HOLD},{"step",1,0,STEP},{"any-order",0,0,ANY},{"slow",1,0,SLOW},{"slow-rate",1,0,SLOWR},{"rcvbuf",1,0,RCVB},
        {"trigger",1,0,TRIG},{"ready-file",1,0,RDY},{"pid",1,0,PID},{"quiet",0,0,QUIET},{0,0,0,0} };
    int k;
    while ((k = getopt_long_only(argc, argv, "", lo, NULL)) != -1) switch (k) {
        case HOST: o.host = optarg; break;     case PORT: o.port = atoi(optarg); break;
        case PATH: o.path = optarg; break;     case RUNS: o.runs = atoi(optarg); break;
        case CONNS: o.conns = atoi(optarg); break; case SRCS: o.srcs = atoi(optarg); break;
        case INFL: o.inflight = atoi(optarg); break; case WARM: o.warm = atoi(optarg); break;
        case EVENTS: o.events = atol(optarg); break; case TMO: o.timeout = atof(optarg); break;
        case HOLD: o.hold = atof(optarg); break;   case STEP: o.step = atoi(optarg); break; case ANY: o.any_order = 1; break;
        case SLOW: o.slow = atoi(optarg); break;   case SLOWR: o.slow_rate = atoi(optarg); break;
        case RCVB: o.rcvbuf = atoi(optarg); break; case TRIG: o.trigger = optarg; break;
        case RDY: o.ready_file = optarg; break;    case PID: o.pid = atoi(optarg); break;
        case QUIET: o.quiet = 1; break;
        case HDR: { size_t l = strlen(extra); snprintf(extra + l, sizeof extra - l, "%s\r\n", optarg); break; }
        default: usage();
    }
    if (o.conns < 1 || o.runs < 1 || o.inflight < 1) usage();
    if (!o.srcs) o.srcs = 1 + o.conns / 4000;
    struct rlimit rl = { (rlim_t)o.conns + 64, (rlim_t)o.conns + 64 }, cur;
    getrlimit(RLIMIT_NOFILE, &cur);
    if (cur.rlim_cur < rl.rlim_cur) {
        if (cur.rlim_max > rl.rlim_max) rl.rlim_max = cur.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &rl)) { perror("setrlimit"); return 1; }
    }
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in dst = { .sin_family = AF_INET, .sin_port = htons((uint16_t)o.port) };
    if (inet_pton(AF_INET, o.host, &dst.sin_addr) != 1) { fprintf(stderr, "--host: an IPv4 address, please\n"); return 1; }
    conns = calloc((size_t)o.conns, sizeof *conns);
    ep = epoll_create1(EPOLL_CLOEXEC);
    static struct epoll_event evs[512];
    for (int i = 0; i < o.conns; i++) { conns[i].idx = (uint32_t)i; conns[i].slow = i < o.slow; }

    /* 1. connect */
    double srv0 = 0, srv1 = 0, srvc = 0, rss = 0, rss0 = 0, rss1 = 0;
    if (o.pid && read_proc(o.pid, &srvc, &rss)) { fprintf(stderr, "no process %d\n", o.pid); return 1; }
    uint64_t t0 = MONO(), limit = t0 + (uint64_t)(60e9 + 5e6 * o.conns);
    while (n_ready + n_failed + n_closed < o.conns) {
        while (next_conn < o.conns && n_inflight < o.inflight) { n_inflight++; conn_open(&conns[next_conn++], &dst); }
        int n = epoll_wait(ep, evs, 512, 1000);
        for (int i = 0; i < n; i++) conn_event(&conns[evs[i].data.u32], evs[i].events);
        if (MONO() > limit) { fprintf(stderr, "connect phase: %d of %d ready, giving up\n", n_ready, o.conns); break; }
    }
    double connect_s = (double)(MONO() - t0) / 1e9;

    /* 2. ready */
    if (o.pid) read_proc(o.pid, &srv0, &rss0);
    double connect_srv_cpu = srv0 - srvc, cpu0 = self_cpu();
    measuring = 1;
    if (!o.quiet) fprintf(stderr, "READY %d (failed %d, not 200: %llu)\n", n_ready, n_failed, (unsigned long long)g_not200);
    if (o.ready_file) { int f = open(o.ready_file, O_CREAT | O_WRONLY, 0644); if (f >= 0) close(f); }
    pid_t child = 0;
    if (o.trigger && !(child = fork())) { execl("/bin/sh", "sh", "-c", o.trigger, (char *)NULL); _exit(127); }

    /* 3. measure */
    int listeners = o.conns - o.slow - n_failed;
    uint64_t expected = (uint64_t)(o.events > 0 ? o.events : 0) * (uint64_t)(o.conns - o.slow);
    uint64_t m0 = MONO(), end = m0 + (uint64_t)((o.hold > 0 ? o.hold : o.timeout) * 1e9);
    uint64_t tick = m0;
    for (;;) {
        uint64_t t = MONO();
        if (t >= end) break;
        if (o.slow && t >= tick) { tick = t + TICK * 1000000ull; for (int i = 0; i < o.slow; i++) read_slowly(&conns[i]); }
        if (o.hold <= 0 && o.events > 0 && g_done_conns >= (uint64_t)listeners) break;
        int n = epoll_wait(ep, evs, 512, (int)(((o.slow ? tick : end) - t) / 1000000) + 1);
        for (int i = 0; i < n; i++) conn_event(&conns[evs[i].data.u32], evs[i].events);
        if (n > 0 && g_events) g_last = MONO();
    }
    double cpu1 = self_cpu(), measure_s = (double)(MONO() - m0) / 1e9;
    if (o.pid) read_proc(o.pid, &srv1, &rss1);
    int trig_rc = 0;
    if (child) { int st; kill(child, 0); waitpid(child, &st, 0); trig_rc = WIFEXITED(st) ? WEXITSTATUS(st) : 128; }

    for (int i = o.slow; o.any_order && i < o.conns; i++) {       /* all as the first of the same path; 1 to M, each once */
        if (conns[i].order != conns[o.slow + (i - o.slow) % o.runs].order) g_reorder++;
        if (o.runs == 1 && conns[i].sum != (uint64_t)o.events * ((uint64_t)o.events + 1) / 2) g_gap++;
    }

    /* 4. report */
    double dur = g_first ? (double)(g_last - g_first) / 1e9 : 0, span = g_first ? (double)(g_last - m0) / 1e9 : 0;
    double per = dur > 0 ? dur : 1e-9;
    long long lost = (long long)expected - (long long)g_events;
    printf("{\"conns\":%d,\"ready\":%d,\"failed\":%d,\"not200\":%llu,\"closed\":%d,\"connect_s\":%.4f,\"conns_per_s\":%.0f,"
           "\"connect_srv_cpu_s\":%.3f,\"events\":%llu,\"expected\":%llu,\"lost\":%lld,\"gap\":%llu,\"reorder\":%llu,"
           "\"slow_events\":%llu,\"comments\":%llu,\"bytes\":%llu,\"recv_calls\":%llu,\"measure_s\":%.4f,\"first_to_last_s\":%.4f,\"ready_to_last_s\":%.4f,"
           "\"deliveries_per_s\":%.0f,\"mb_per_s\":%.2f,"
           "\"lat_us\":{\"n\":%llu,\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f,\"neg\":%llu},"
           "\"client_cpu_s\":%.3f,\"client_util\":%.3f,\"server_cpu_s\":%.4f,\"server_rss_start_mb\":%.2f,\"server_rss_mb\":%.2f,\"server_rss_end_mb\":%.2f,\"trigger_rc\":%d}\n",
           o.conns, n_ready, n_failed, (unsigned long long)g_not200, n_closed, connect_s, (double)n_ready / connect_s, connect_srv_cpu,
           (unsigned long long)g_events, (unsigned long long)expected, o.events > 0 ? lost : 0, (unsigned long long)g_gap, (unsigned long long)g_reorder,
           (unsigned long long)g_slow_events, (unsigned long long)g_comments, (unsigned long long)g_bytes, (unsigned long long)g_recv_calls, measure_s, dur, span,
           (double)g_events / per, (double)g_bytes / per / 1e6,
           (unsigned long long)hist_n, hist_n ? hist_sum / (double)hist_n / 1e3 : 0, h_pct_us(50), h_pct_us(90), h_pct_us(99), h_pct_us(99.9),
           (double)hist_max / 1e3, (unsigned long long)hist_neg,
           cpu1 - cpu0, (cpu1 - cpu0) / (measure_s > 0 ? measure_s : 1), srv1 - srv0, rss, rss0, rss1, trig_rc);
    return n_failed ? 1 : (o.events > 0 && lost > 0) ? 2 : 0;
}
