/** The modes of files and directories that are made from foreign data. */

/** As the umask allows, and without setuid, setgid and sticky bits. */
export const permitted = (mode: number): number => mode & 0o777 & ~process.umask();
