/*
 * The memory of mosaic.c in a process with children. They share its pages since the fork, and then everyone, the parent
 * too, writes some pages of their own: the same address holds other bytes in each process. One more child is a zombie,
 * which a dump keeps as a task without memory.
 */
#define _GNU_SOURCE
#include "memory.h"

#define CHILDREN 3
#define ZOMBIE_CODE 7

enum { PARENT_WRITER = 1, FIRST_CHILD_WRITER = 2 };

static pid_t children[CHILDREN];
static pid_t zombie;

/* Gives this process its own version of some of the pages that it shares since the fork. */
static void rewrite_as(unsigned number)
{
	writer = number;
	for (const struct area *area = areas; area < areas + AREAS; area++) {
		if (!area->cow)
			continue;
		for (size_t page = writer; page < area->pages; page += 8)
			if (area->content(page) == NOISE)
				write_noise(area, page, area->base + page * PAGE);
	}
}

static void child(int number, int ready_pipe)
{
	char prefix[16];

	snprintf(prefix, sizeof prefix, "child %d: ", number);
	rewrite_as((unsigned)(FIRST_CHILD_WRITER + number));
	close(ready_pipe);
	wait_for_signal();

	/* The threads of the parent are not here, but the pages of their stacks are. */
	const int corrupt = verify_memory(prefix);
	report("%s%s\n", prefix, corrupt ? "FAILED" : "OK");
	_exit(corrupt ? 1 : 0);
}

/* Returns when every child has written its pages: the end of the pipe comes when the last of them has closed it. */
static void start_children(void)
{
	int ready[2];
	char byte;

	need(pipe(ready) == 0, "pipe");
	for (int i = 0; i < CHILDREN; i++) {
		children[i] = fork();
		need(children[i] >= 0, "fork");
		if (children[i] == 0) {
			close(ready[0]);
			child(i, ready[1]);
		}
	}
	rewrite_as(PARENT_WRITER);
	close(ready[1]);
	need(read(ready[0], &byte, 1) == 0, "waiting for the children");
	close(ready[0]);
}

/* Waits until the child has ended, and leaves it unreaped. */
static void start_zombie(void)
{
	siginfo_t info;

	zombie = fork();
	need(zombie >= 0, "fork");
	if (zombie == 0)
		_exit(ZOMBIE_CODE);
	need(waitid(P_PID, (id_t)zombie, &info, WEXITED | WNOWAIT) == 0, "waitid");
}

static int exit_code(pid_t pid)
{
	int status;
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int end_children(void)
{
	int corrupt = 0;

	for (int i = 0; i < CHILDREN; i++)
		kill(children[i], SIGUSR1);
	for (int i = 0; i < CHILDREN; i++) {
		if (exit_code(children[i]) == 0)
			continue;
		report("CORRUPT child %d: it did not end well\n", i);
		corrupt++;
	}
	if (exit_code(zombie) != ZOMBIE_CODE) {
		report("CORRUPT zombie: wrong exit code\n");
		corrupt++;
	}
	return corrupt;
}

int main(int argc, char **argv)
{
	PAGE_ALIGNED unsigned char stack[STACK_PAGES * PAGE];

	begin(argc, argv);
	build_memory(stack);
	start_workers();
	start_children();
	start_zombie();

	report("ready %d\n", (int)getpid());
	wait_for_signal();

	const int corrupt = verify_memory("");
	return end(corrupt + end_children() + end_workers());
}
