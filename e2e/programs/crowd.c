/*
 * Many small processes. Each has pages of its own, and pages that it shares with all others since the fork.
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "report.h"

/* With the parent 200 tasks. */
#define CHILDREN 199
#define SHARED_PAGES 64
#define OWN_PAGES 32
#define PARENT 0u

static unsigned char *shared, *own;
static pid_t children[CHILDREN];

static uint64_t word_of(uint64_t process, size_t page, size_t at)
{
	return mix(process << 40 | page << 16 | at);
}

static void fill(unsigned char *memory, size_t pages, uint64_t process)
{
	for (size_t at = 0; at < pages * PAGE; at += sizeof(uint64_t)) {
		const uint64_t word = word_of(process, at / PAGE, at % PAGE);
		memcpy(memory + at, &word, sizeof word);
	}
}

static int verify(const char *area, const unsigned char *memory, size_t pages, uint64_t process)
{
	for (size_t at = 0; at < pages * PAGE; at += sizeof(uint64_t)) {
		const uint64_t word = word_of(process, at / PAGE, at % PAGE);
		if (memcmp(memory + at, &word, sizeof word) == 0)
			continue;
		report("CORRUPT %s: process %d, page %zu\n", area, (int)process, at / PAGE);
		return 1;
	}
	return 0;
}

static int verify_both(uint64_t process)
{
	return verify("own", own, OWN_PAGES, process) + verify("shared", shared, SHARED_PAGES, PARENT);
}

static unsigned char *map(size_t pages)
{
	unsigned char *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(memory != MAP_FAILED, "mmap");
	return memory;
}

/* Returns when every child has filled its pages: the end of the pipe comes when the last of them has closed it. */
static void start_children(void)
{
	int ready[2];
	char byte;

	need(pipe(ready) == 0, "pipe");
	for (unsigned i = 0; i < CHILDREN; i++) {
		children[i] = fork();
		need(children[i] >= 0, "fork");
		if (children[i] > 0)
			continue;
		fill(own, OWN_PAGES, i + 1);
		close(ready[0]);
		close(ready[1]);
		wait_for_signal();
		_exit(verify_both(i + 1) ? 1 : 0);
	}
	close(ready[1]);
	need(read(ready[0], &byte, 1) == 0, "waiting for the children");
	close(ready[0]);
}

static int end_children(void)
{
	int corrupt = 0, status;

	for (int i = 0; i < CHILDREN; i++)
		kill(children[i], SIGUSR1);
	for (int i = 0; i < CHILDREN; i++) {
		if (waitpid(children[i], &status, 0) == children[i] && WIFEXITED(status) && WEXITSTATUS(status) == 0)
			continue;
		report("CORRUPT child %d: it did not end well\n", i);
		corrupt++;
	}
	return corrupt;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	shared = map(SHARED_PAGES);
	own = map(OWN_PAGES);
	fill(shared, SHARED_PAGES, PARENT);
	start_children();
	fill(own, OWN_PAGES, PARENT);

	report("ready %d\n", (int)getpid());
	wait_for_signal();

	const int corrupt = verify_both(PARENT);
	return end(corrupt + end_children());
}
