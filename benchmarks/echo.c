/* The far end of a benchmark: an echo for any number of UDP sockets, so quick that it is not what is measured.
 *
 * Usage: echo [gso]
 * Commands, one a line on stdin, each answered by one line on stdout unless stated otherwise:
 *   bind IPV4 PORT   "HANDLE PORT", or "error ERRNO"
 *   close HANDLE     (no answer)
 *   stats            "DATAGRAMS CPU_SECONDS" since the start
 * It ends when stdin does.
 *
 * Plain, it answers datagram by datagram, as the daemon does, in system calls of up to BURST. With "gso" it takes and
 * sends whole trains (UDP_GRO, UDP_SEGMENT): what a peer does that offloads as we do.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef SOL_UDP
#define SOL_UDP 17
#endif

enum { BURST = 64, SIZE = 16384, TRAIN = 65536, EVENTS = 256, BUFFER = 4 << 20 };

static unsigned long long datagrams;
static int with_gso;

static char single[BURST][SIZE];
static struct mmsghdr messages[BURST];
static struct iovec pieces[BURST];
static struct sockaddr_in sources[BURST];

static void echo_singles(int fd) {
    for (;;) {
        for (int i = 0; i < BURST; i++) {
            pieces[i] = (struct iovec){single[i], SIZE};
            messages[i].msg_hdr = (struct msghdr){
                .msg_name = &sources[i], .msg_namelen = sizeof sources[i], .msg_iov = &pieces[i], .msg_iovlen = 1};
        }
        int got = recvmmsg(fd, messages, BURST, MSG_DONTWAIT, NULL);
        if (got <= 0) return;
        for (int i = 0; i < got; i++) pieces[i].iov_len = messages[i].msg_len;
        for (int sent = 0; sent < got;) {
            int done = sendmmsg(fd, messages + sent, got - sent, 0);
            if (done <= 0) break;
            sent += done;
        }
        datagrams += got;
        if (got < BURST) return;
    }
}

static void echo_trains(int fd) {
    static char train[TRAIN];
    for (int i = 0; i < BURST; i++) {
        struct sockaddr_in source;
        struct iovec piece = {train, TRAIN};
        union {
            struct cmsghdr aligned;
            char bytes[CMSG_SPACE(sizeof(int))];
        } control;
        struct msghdr message = {.msg_name = &source,
                                 .msg_namelen = sizeof source,
                                 .msg_iov = &piece,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof control.bytes};
        ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT);
        if (got < 0) return;
        int segment = 0;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
            if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) memcpy(&segment, CMSG_DATA(c), sizeof segment);
        piece.iov_len = got;
        message.msg_controllen = 0;
        message.msg_control = NULL;
        if (segment > 0 && segment < got) {
            uint16_t size = segment;
            message.msg_control = control.bytes;
            message.msg_controllen = CMSG_SPACE(sizeof size);
            struct cmsghdr *c = CMSG_FIRSTHDR(&message);
            c->cmsg_level = SOL_UDP;
            c->cmsg_type = UDP_SEGMENT;
            c->cmsg_len = CMSG_LEN(sizeof size);
            memcpy(CMSG_DATA(c), &size, sizeof size);
            datagrams += (got + segment - 1) / segment;
        } else {
            datagrams++;
        }
        sendmsg(fd, &message, 0);
    }
}

static void bind_one(int events, const char *ip, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t length = sizeof address;
    int size = BUFFER, on = 1;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || inet_pton(AF_INET, ip, &address.sin_addr) != 1 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) || getsockname(fd, (struct sockaddr *)&address, &length)) {
        printf("error %d\n", errno);
        if (fd >= 0) close(fd);
        return;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (with_gso) setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(events, EPOLL_CTL_ADD, fd, &event);
    printf("%d %d\n", fd, ntohs(address.sin_port));
}

static void command(int events, const char *line) {
    char ip[64];
    int number;
    struct rusage used;
    if (sscanf(line, "bind %63s %d", ip, &number) == 2) {
        bind_one(events, ip, number);
    } else if (sscanf(line, "close %d", &number) == 1) {
        close(number);
        return;
    } else if (!strncmp(line, "stats", 5)) {
        getrusage(RUSAGE_SELF, &used);
        printf("%llu %.6f\n", datagrams,
               used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
    } else {
        printf("error unknown command\n");
    }
    fflush(stdout);
}

int main(int count, char **arguments) {
    with_gso = count > 1 && !strcmp(arguments[1], "gso");
    int events = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event control = {.events = EPOLLIN, .data.fd = STDIN_FILENO}, ready[EVENTS];
    epoll_ctl(events, EPOLL_CTL_ADD, STDIN_FILENO, &control);
    char text[4096];
    size_t held = 0;
    for (;;) {
        int got = epoll_wait(events, ready, EVENTS, -1);
        for (int i = 0; i < got; i++) {
            if (ready[i].data.fd != STDIN_FILENO) {
                if (with_gso) echo_trains(ready[i].data.fd);
                else echo_singles(ready[i].data.fd);
                continue;
            }
            ssize_t more = read(STDIN_FILENO, text + held, sizeof text - held - 1);
            if (more <= 0) return 0;
            held += more;
            text[held] = 0;
            char *start = text, *end;
            while ((end = strchr(start, '\n'))) {
                *end = 0;
                command(events, start);
                start = end + 1;
            }
            held -= start - text;
            memmove(text, start, held);
        }
    }
}
