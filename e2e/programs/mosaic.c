/* One process of three threads, with memory of every kind (see memory.h). */
#define _GNU_SOURCE
#include "memory.h"

int main(int argc, char **argv)
{
	PAGE_ALIGNED unsigned char stack[STACK_PAGES * PAGE];

	begin(argc, argv);
	build_memory(stack);
	start_workers();

	report("ready %d\n", (int)getpid());
	wait_for_signal();

	const int corrupt = verify_memory("");
	return end(corrupt + end_workers());
}
