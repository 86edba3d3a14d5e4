/**
 * What the dump says of segments of shared memory. An area of a memfd, which is also what anonymous shared memory is in dumps
 * of today, leads to its segment in three steps: its file in files.img, the inode of that in memfd.img, and the segment there.
 */
import type { DumpFiles } from '../dump/files.js';
import type { Images } from '../dump/images.js';

export interface SharedSegment {
  name?: string;
  bytes: number;
}

export class SharedSegments {
  private readonly segments = new Map<number, SharedSegment>();
  private readonly ofMemfds = new Map<number, number>();

  constructor(images: Images, files: Pick<DumpFiles, 'entries'>) {
    if (images.has('memfd.img')) {
      images.each('memfd.img', 'memfd_inode_entry', ({ inode_id: inode, shmid, name, size }) => {
        this.segments.set(shmid, { name, bytes: Number(size) });
        this.ofMemfds.set(Number(inode), shmid);
      });
    }
    for (const { name } of files.entries()) {
      if (!/^ipcns-shm-\d+\.img$/.test(name)) continue;
      images.each(name, 'ipc_shm_entry', ({ desc, size }) => {
        if (!this.segments.has(desc.id)) this.segments.set(desc.id, { bytes: Number(size) });
      });
    }
  }

  of(id: number): SharedSegment | undefined {
    return this.segments.get(id);
  }

  /** The segment of a memfd. @param inode `inode_id` */
  idOfMemfd(inode: number): number | undefined {
    return this.ofMemfds.get(inode);
  }
}
