/*
 * A program with a working set: after the signal it touches a known tenth of its memory, and then waits until all of it is
 * there before it looks at the rest. So what it has to wait for is that tenth alone. With -DCLUSTER=N it is N pages of each
 * 10 * N.
 *
 * The report file: "ready PID", "memory ADDRESS PAGES", "touched in NANOSECONDS", then "CORRUPT ..." for what has changed,
 * at the end "OK" or "FAILED".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define PAGES 4096
#ifndef CLUSTER
#define CLUSTER 1
#endif
#define TENTH(page) ((page) / CLUSTER % 10 == 3)

static unsigned char *memory;
static unsigned char resident[PAGES];

static uint64_t word_of(size_t page)
{
	return (page + 1) * 0x9e3779b97f4a7c15u;
}

static void fill(size_t page)
{
	const uint64_t word = word_of(page);
	for (size_t at = 0; at < PAGE; at += sizeof word)
		memcpy(memory + page * PAGE + at, &word, sizeof word);
}

static bool is_right(size_t page)
{
	const uint64_t word = word_of(page);
	for (size_t at = 0; at < PAGE; at += sizeof word)
		if (memcmp(memory + page * PAGE + at, &word, sizeof word) != 0)
			return false;
	return true;
}

static int64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Asking touches nothing. A page that never comes blocks the reader. */
static void wait_for_all(void)
{
	const struct timespec pause = { .tv_nsec = 5000000 };
	for (int i = 0; i < 2000; i++) {
		if (mincore(memory, PAGES * PAGE, resident) == 0) {
			size_t count = 0;
			for (size_t page = 0; page < PAGES; page++)
				count += resident[page] & 1;
			if (count == PAGES)
				return;
		}
		nanosleep(&pause, NULL);
	}
}

int main(int argc, char **argv)
{
	sigset_t signals;
	int signal_number, bad = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: %s REPORT\n", argv[0]);
		return 2;
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	const int report = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0644);
	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (report < 0 || memory == MAP_FAILED) {
		perror(argv[1]);
		return 1;
	}
	for (size_t page = 0; page < PAGES; page++)
		fill(page);
	dprintf(report, "memory 0x%lx %d\n", (unsigned long)memory, PAGES);
	dprintf(report, "ready %d\n", (int)getpid());
	while (sigwait(&signals, &signal_number) != 0)
		;

	/* From the end, for the background sweep comes from the beginning. */
	const int64_t begun = now();
	for (size_t cluster = PAGES / CLUSTER; cluster-- > 0;)
		for (size_t page = cluster * CLUSTER; page < (cluster + 1) * CLUSTER; page++)
			if (TENTH(page))
				bad += !is_right(page);
	dprintf(report, "touched in %ld\n", (long)(now() - begun));
	wait_for_all();
	for (size_t page = 0; page < PAGES; page++)
		bad += !is_right(page);
	if (bad)
		dprintf(report, "CORRUPT memory: %d pages\n", bad);
	dprintf(report, "%s\n", bad ? "FAILED" : "OK");
	return bad ? 1 : 0;
}
