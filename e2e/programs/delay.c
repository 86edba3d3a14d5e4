/*
 * A slow wire: passes frames between two network interfaces, each after a delay. For kernels without netem.
 *
 *     delay INTERFACE INTERFACE MILLISECONDS      prints "ready" when frames may come; goes on until it is ended
 *
 * Frames carry the header of PACKET_VNET_HDR: between virtual interfaces they are up to 64 KiB large, and their checksums
 * are left to the sender on a real wire; the header says so to the other side.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <arpa/inet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_FRAME (128 * 1024)
/* Like that of netem; a frame more is lost, as on a real wire. */
#define MAX_QUEUED 4096

struct frame {
	struct frame *next;
	uint64_t due; /* nanoseconds */
	int to;
	size_t size;
	unsigned char bytes[];
};

/* One queue for both directions: the delay is the same, so who came first leaves first. */
static struct frame *first, **last = &first;
static size_t queued;

static void need(int condition, const char *what)
{
	if (condition)
		return;
	perror(what);
	exit(1);
}

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int open_interface(const char *name)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	const int on = 1, buffer = 16 << 20;
	const int fd = socket(AF_PACKET, SOCK_RAW, 0);

	need(fd >= 0, "socket");
	address.sll_ifindex = (int)if_nametoindex(name);
	need(address.sll_ifindex != 0, name);
	need(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) == 0, "PACKET_VNET_HDR");
	need(setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) == 0, "PACKET_IGNORE_OUTGOING");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer);
	need(bind(fd, (struct sockaddr *)&address, sizeof address) == 0, "bind");
	return fd;
}

static void take(int from, int to, uint64_t delay)
{
	static unsigned char bytes[MAX_FRAME];

	for (;;) {
		const ssize_t size = recv(from, bytes, sizeof bytes, MSG_DONTWAIT);
		if (size < 0) {
			need(errno == EAGAIN || errno == ENETDOWN, "recv");
			return;
		}
		if (queued == MAX_QUEUED)
			continue;
		struct frame *frame = malloc(sizeof *frame + (size_t)size);
		need(frame != NULL, "malloc");
		*frame = (struct frame){ .due = now() + delay, .to = to, .size = (size_t)size };
		memcpy(frame->bytes, bytes, (size_t)size);
		*last = frame;
		last = &frame->next;
		queued++;
	}
}

/* Returns the nanoseconds until the next frame is due. */
static uint64_t send_due(void)
{
	while (first) {
		struct frame *frame = first;
		const uint64_t time = now();
		if (frame->due > time)
			return frame->due - time;
		/* What cannot be sent is lost, as on a real wire. */
		send(frame->to, frame->bytes, frame->size, 0);
		first = frame->next;
		if (!first)
			last = &first;
		queued--;
		free(frame);
	}
	return 1000000000u;
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: %s INTERFACE INTERFACE MILLISECONDS\n", argv[0]);
		return 2;
	}
	const int a = open_interface(argv[1]), b = open_interface(argv[2]);
	const uint64_t delay = strtoul(argv[3], NULL, 10) * 1000000u;
	struct pollfd ends[] = { { .fd = a, .events = POLLIN }, { .fd = b, .events = POLLIN } };

	puts("ready");
	fflush(stdout);
	for (;;) {
		const uint64_t wait = send_due();
		const struct timespec timeout = { .tv_sec = (time_t)(wait / 1000000000u), .tv_nsec = (long)(wait % 1000000000u) };
		need(ppoll(ends, 2, &timeout, NULL) >= 0, "poll");
		take(a, b, delay);
		take(b, a, delay);
	}
}
