// Objects and arrays of Java: checked after the signal, then half of them made anew, several times.
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.function.IntPredicate;
import java.util.stream.IntStream;

public class Work {
  static final int OBJECTS = 100_000;
  static Path report;
  static int bad = 0;

  record Thing(int id, String name, long[] list) {
    static Thing of(int id) {
      return new Thing(id, "object " + id, new long[] {id, id * 2L, id * 3L});
    }

    boolean isRight(int expected) {
      return id == expected && name.equals("object " + expected) && list[2] == expected * 3L;
    }
  }

  static void report(String line) throws IOException {
    Files.writeString(report, line + "\n", StandardOpenOption.CREATE, StandardOpenOption.APPEND);
  }

  static void expect(boolean condition, String what) throws IOException {
    if (condition) return;
    bad++;
    report("CORRUPT " + what);
  }

  static List<Thing> things() {
    List<Thing> things = new ArrayList<>();
    for (int id = 0; id < OBJECTS; id++) things.add(Thing.of(id));
    return things;
  }

  static boolean areRight(List<Thing> things) {
    IntPredicate isRight = id -> things.get(id).isRight(id);
    return IntStream.range(0, OBJECTS).allMatch(isRight);
  }

  public static void main(String[] args) throws Exception {
    report = Path.of(args[0]);
    CountDownLatch signalled = new CountDownLatch(1);
    sun.misc.Signal.handle(new sun.misc.Signal("USR1"), signal -> signalled.countDown());
    List<Thing> kept = things();
    byte[] large = new byte[10 << 20];
    new Random(1).nextBytes(large);
    int expected = Arrays.hashCode(large);
    things();
    System.gc();
    report("ready " + ProcessHandle.current().pid());
    signalled.await();

    for (int round = 0; round < 5; round++) {
      expect(areRight(kept), "objects");
      expect(Arrays.hashCode(large) == expected, "array");
      expect(areRight(things()), "new objects");
      System.gc();
      for (int size : new int[] {100, 10_000, 300_000, 5_000_000}) {
        byte[] zeros = new byte[size];
        expect(Arrays.equals(zeros, 0, size - 1, zeros, 1, size) && zeros[0] == 0, "new byte[" + size + "]");
        Arrays.fill(zeros, (byte) 7);
      }
      for (int id = round % 2; id < OBJECTS; id += 2) kept.set(id, Thing.of(id));
      System.gc();
    }
    report(bad > 0 ? "FAILED" : "OK");
  }
}
