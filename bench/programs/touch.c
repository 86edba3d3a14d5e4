/*
 * A process that touches pages at random while its memory may still be coming, and measures how long each of them takes.
 *
 *     touch REPORT MIB TOUCHES
 *
 * It fills so much private anonymous memory, no two pages alike, writes "ready" to the report, and waits for SIGUSR1. Then it
 * touches different pages in an order that is the same each time, and writes one line: the sum, the median and the 99th percentile in
 * nanoseconds. A second SIGUSR1 makes it compare all of its memory: the last line is "OK" or "FAILED".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define WORDS (PAGE / sizeof(uint64_t))

static uint64_t *memory;
static int64_t *times;

static uint64_t word_of(size_t i)
{
	return (i + 1) * 0x9e3779b97f4a7c15u;
}

static int64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
	const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return x < y ? -1 : x > y;
}

static void wait_for_signal(const sigset_t *signals)
{
	int signal_number;
	while (sigwait(signals, &signal_number) != 0)
		;
}

int main(int argc, char **argv)
{
	sigset_t signals;
	int bad = 0;

	if (argc != 4)
		return 2;
	const size_t pages = (size_t)atol(argv[2]) * 256, touches = (size_t)atol(argv[3]);
	const int report = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0644);
	memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (report < 0 || memory == MAP_FAILED || touches > pages)
		return 1;
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	for (size_t i = 0; i < pages * WORDS; i++)
		memory[i] = word_of(i);
	dprintf(report, "ready %d\n", (int)getpid());
	wait_for_signal(&signals);

	/* Its own pages are there before time is taken. */
	times = calloc(touches + 1, sizeof *times);
	if (!times)
		return 1;
	for (size_t i = 0; i <= touches; i++)
		times[i] = 1;
	now();
	int64_t sum = 0;
	/* An odd step that is prime to the number of pages leads to each page once. */
	for (size_t i = 0, page = pages / 3; i < touches; i++, page = (page + 7368787 * 2 + 1) % pages) {
		const int64_t begun = now();
		bad += memory[page * WORDS + i % WORDS] != word_of(page * WORDS + i % WORDS);
		times[i] = now() - begun;
		sum += times[i];
	}
	qsort(times, touches, sizeof *times, by_size);
	dprintf(report, "%ld %ld %ld\n", (long)sum, (long)times[touches / 2], (long)times[touches * 99 / 100]);

	wait_for_signal(&signals);
	for (size_t i = 0; i < pages * WORDS; i++)
		bad += memory[i] != word_of(i);
	dprintf(report, "%s\n", bad ? "FAILED" : "OK");
	return bad ? 1 : 0;
}
