/* What the kernel needs at least, in C: the limit that the figures are compared with.
 *
 *   limit splice            stdin to stdout, one of which is a pipe, without reading a byte
 *   limit copy FROM TO      the files of a folder into another one, which it makes
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE (1 << 20)

static void check(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static void splice_all(void)
{
	ssize_t n;

	/* Whichever of them is a pipe. */
	fcntl(0, F_SETPIPE_SZ, PIECE);
	fcntl(1, F_SETPIPE_SZ, PIECE);
	while ((n = splice(0, NULL, 1, NULL, PIECE, SPLICE_F_MOVE)) > 0)
		;
	check(n == 0, "splice");
}

static void copy_file(int from, int to, const char *name)
{
	int in = openat(from, name, O_RDONLY);
	int out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL, 0600);
	ssize_t n;

	check(in >= 0 && out >= 0, name);
	while ((n = copy_file_range(in, NULL, out, NULL, 8 * PIECE, 0)) > 0)
		;
	check(n == 0, name);
	close(in);
	close(out);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "splice") == 0) {
		splice_all();
	} else if (argc == 4 && strcmp(argv[1], "copy") == 0) {
		DIR *folder = opendir(argv[2]);
		struct dirent *entry;
		int to;

		check(folder != NULL, argv[2]);
		check(mkdir(argv[3], 0700) == 0, argv[3]);
		to = open(argv[3], O_RDONLY | O_DIRECTORY);
		check(to >= 0, argv[3]);
		while ((entry = readdir(folder)) != NULL)
			if (entry->d_type == DT_REG)
				copy_file(dirfd(folder), to, entry->d_name);
	} else {
		fprintf(stderr, "usage: limit splice | limit copy FROM TO\n");
		return 2;
	}
	return 0;
}
