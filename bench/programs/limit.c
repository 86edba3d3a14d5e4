/* What the kernel needs at least, in C: the limit that the figures are compared with.
 *
 *   limit splice            stdin to stdout, one of which is a pipe, without reading a byte
 *   limit pass              stdin to stdout by read and write: into a file, splice takes four times as long
 *   limit copy FROM TO      the files of a folder into another one, which it makes
 *   limit join FROM TO      the files of a folder into one file, as a tar has them
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

static void pass_all(void)
{
	static char piece[PIECE / 8];
	ssize_t n;

	fcntl(0, F_SETPIPE_SZ, PIECE);
	while ((n = read(0, piece, sizeof piece)) > 0)
		check(write(1, piece, n) == n, "write");
	check(n == 0, "read");
}

static void copy_file(int from, const char *name, int out)
{
	int in = openat(from, name, O_RDONLY);
	ssize_t n;

	check(in >= 0 && out >= 0, name);
	while ((n = copy_file_range(in, NULL, out, NULL, 8 * PIECE, 0)) > 0)
		;
	check(n == 0, name);
	close(in);
}

static void copy_folder(const char *from, const char *to, int into_one)
{
	DIR *folder = opendir(from);
	struct dirent *entry;
	int out;

	check(folder != NULL, from);
	check(into_one || mkdir(to, 0700) == 0, to);
	out = into_one ? open(to, O_WRONLY | O_CREAT | O_EXCL, 0600) : open(to, O_RDONLY | O_DIRECTORY);
	check(out >= 0, to);
	while ((entry = readdir(folder)) != NULL) {
		int file = out;

		if (entry->d_type != DT_REG)
			continue;
		if (!into_one)
			file = openat(out, entry->d_name, O_WRONLY | O_CREAT | O_EXCL, 0600);
		copy_file(dirfd(folder), entry->d_name, file);
		if (!into_one)
			close(file);
	}
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "splice") == 0) {
		splice_all();
	} else if (argc == 2 && strcmp(argv[1], "pass") == 0) {
		pass_all();
	} else if (argc == 4 && (strcmp(argv[1], "copy") == 0 || strcmp(argv[1], "join") == 0)) {
		copy_folder(argv[2], argv[3], strcmp(argv[1], "join") == 0);
	} else {
		fprintf(stderr, "usage: limit splice | limit pass | limit copy FROM TO | limit join FROM TO\n");
		return 2;
	}
	return 0;
}
