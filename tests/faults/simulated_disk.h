// A disk that forgets what was not synced, and fails when told to. It stands
// between the program and the C library: simulated_disk.cc defines open(),
// write(), fdatasync() and their kin for the whole executable, RocksDB's
// library included. Link the source into a test; un-armed it does nothing.
//
// It models what POSIX promises and no more: bytes are durable once their file
// was synced, names once their folder was. One flat folder is watched.
//
// Arm() it once, in a child process of its own, before the folder is used. All
// calls on the folder's files are serialised.

#ifndef STOCKPOT_TESTS_FAULTS_SIMULATED_DISK_H_
#define STOCKPOT_TESTS_FAULTS_SIMULATED_DISK_H_

#include <cstdint>
#include <string>

namespace stockpot::testing {

struct DiskFaults {
  std::string folder;  // Absolute; the one that is watched.
  // Where PowerOff() leaves what a restart would find; made by it.
  std::string image;

  // The power goes at the n-th changing call, counted from 1; 0: only when
  // PowerOff() is called.
  uint64_t power_off_at = 0;
  // What of the unsynced bytes survives: nothing, or a random part: any pages
  // of 4 KiB, the last one torn, and the first of the unsynced names.
  bool keep_random_part = false;
  uint64_t seed = 0;
  // Instead of these: all names survive, and of the unsynced bytes those of the
  // file that was written last. A disk writes in any order.
  bool keep_last_written = false;

  // Syncs of files whose names end so succeed and do nothing. "": of all.
  bool ignore_syncs = false;
  std::string ignored_suffix;

  // The n-th sync fails with EIO, and what it should have written is lost for
  // good, as Linux does it: a later sync of that file tells nothing; 0: none.
  uint64_t fail_sync_at = 0;
  // The n-th write fails with `write_errno`, half done; 0: none.
  uint64_t fail_write_at = 0;
  int write_errno = 0;
  // All that come after the n-th fail too.
  bool keep_failing = false;
};

void ArmDisk(const DiskFaults& faults);

// Calls so far, by kind.
struct DiskCalls {
  uint64_t changes = 0;  // All calls that change a file or a name.
  uint64_t syncs = 0;
  uint64_t writes = 0;
  uint64_t failed = 0;
};
DiskCalls CountDiskCalls();

// Writes the image and kills the process.
[[noreturn]] void PowerOff();

}  // namespace stockpot::testing

#endif  // STOCKPOT_TESTS_FAULTS_SIMULATED_DISK_H_
