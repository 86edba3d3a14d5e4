/*
 * A process that fills so much private anonymous memory, no two pages alike, and says "ready PID". SIGUSR1 makes it read and
 * compare all of it: "read OK" or "read FAILED". SIGUSR2 makes it write every hundredth page, with what it has already.
 *
 *     keep REPORT MIB
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096
#define WORDS (PAGE / sizeof(uint64_t))

static uint64_t word_of(size_t i)
{
	return (i + 1) * 0x9e3779b97f4a7c15u;
}

int main(int argc, char **argv)
{
	sigset_t signals;
	int signal_number;

	if (argc != 3)
		return 2;
	const size_t pages = (size_t)atol(argv[2]) * 256;
	const int report = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0644);
	uint64_t *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (report < 0 || memory == MAP_FAILED)
		return 1;
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigaddset(&signals, SIGUSR2);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	for (size_t i = 0; i < pages * WORDS; i++)
		memory[i] = word_of(i);
	dprintf(report, "ready %d\n", (int)getpid());

	for (;;) {
		size_t bad = 0;
		if (sigwait(&signals, &signal_number) != 0)
			continue;
		if (signal_number == SIGUSR2) {
			for (size_t page = 0; page < pages; page += 100)
				((volatile uint64_t *)memory)[page * WORDS] = word_of(page * WORDS);
			dprintf(report, "write OK\n");
			continue;
		}
		for (size_t i = 0; i < pages * WORDS; i++)
			bad += memory[i] != word_of(i);
		dprintf(report, "read %s\n", bad ? "FAILED" : "OK");
	}
}
