/*
 * One process of four threads for a debugger to look at: names on stacks, a list in the heap, shared memory, vector registers.
 * What its memory holds is also in a file, the name of the report with ".block" behind it.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "report.h"

#define WORKERS 3
#define BLOCK_BYTES (64 * 1024)

struct node {
	struct node *next;
	long value;
};

/* Names that the debugger is asked for. */
struct node *list;
unsigned char *private_block, *shared_block;
__thread long own_number;
int threads_waiting;

/* Waits with known values in vector registers: nothing may happen between loading them and the system call. */
static __attribute__((noinline)) void wait_inside(long number)
{
	uint64_t lanes[4] = { 0x1111, 0x2222, 0x3333, (uint64_t)number };

	own_number = number;
	__sync_fetch_and_add(&threads_waiting, 1);
	for (;;) {
		if (__builtin_cpu_supports("avx"))
			__asm__ volatile("vmovdqu (%0), %%ymm5\n\tsyscall"
					 : : "r"(lanes), "a"((long)SYS_pause) : "rcx", "r11", "memory");
		else
			__asm__ volatile("movdqu (%0), %%xmm5\n\tsyscall"
					 : : "r"(lanes), "a"((long)SYS_pause) : "rcx", "r11", "memory");
	}
}

static __attribute__((noinline)) void *work_of_thread(void *argument)
{
	wait_inside((long)argument);
	return NULL;
}

static __attribute__((noinline)) void wait_in_main(void)
{
	wait_for_signal();
	/* So that it waits in here, and not in its caller. */
	threads_waiting = 0;
}

static void push(long value)
{
	struct node *node = malloc(sizeof(*node));

	need(node != NULL, "malloc");
	node->next = list;
	node->value = value;
	list = node;
}

static void fill_blocks(const char *report_name)
{
	const int memory = memfd_create("debugged", 0);
	char name[4096];
	FILE *file;

	need(memory >= 0 && ftruncate(memory, BLOCK_BYTES) == 0, "memfd");
	private_block = malloc(BLOCK_BYTES);
	shared_block = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	need(private_block != NULL && shared_block != MAP_FAILED, "blocks");
	for (size_t i = 0; i < BLOCK_BYTES; i++) {
		private_block[i] = (unsigned char)mix(i);
		shared_block[i] = (unsigned char)mix(i + BLOCK_BYTES);
	}
	snprintf(name, sizeof(name), "%s.block", report_name);
	file = fopen(name, "w");
	need(file && fwrite(private_block, BLOCK_BYTES, 1, file) == 1 && fwrite(shared_block, BLOCK_BYTES, 1, file) == 1 &&
	     fclose(file) == 0, "the file of the blocks");
}

int main(int argc, char **argv)
{
	pthread_t thread;

	begin(argc, argv);
	for (long i = 1; i <= 3; i++)
		push(1000 * i);
	fill_blocks(argv[1]);
	for (long i = 1; i <= WORKERS; i++)
		need(pthread_create(&thread, NULL, work_of_thread, (void *)(40 + i)) == 0, "pthread_create");
	while (__sync_fetch_and_add(&threads_waiting, 0) < WORKERS)
		usleep(1000);
	report("ready %d\n", (int)getpid());
	wait_in_main();
	return end(0);
}
