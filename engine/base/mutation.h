// Mutations: each removes one ordering rule of the engine, so that the crash simulator can show that it would
// notice. A test that can't fail proves nothing.
//
// Compiled in only with COPPICE_MUTATIONS (the CMake option; off in Release builds); else mutated() is
// constant and leaves no trace. Each is explained, with its rule, in docs/durability.md. Threads: set before
// the store runs.
#pragma once

#include <cstdint>

namespace coppice {

enum class Mutation : std::uint8_t {
  kNone = 0,
  // What is written where.
  kNoQuarantine,            // freed blocks are handed out at once
  kQuarantineIgnoresReads,  // … once durable, though a read may still look at them
  kInPlaceUnproven,         // in place although the mapping is not durable yet
  kInPlaceOlderBirth,       // in place although a snapshot sees the block
  kStrictIgnored,           // in place although the disk is strict
  kDeadNodesDontCount,      // a dead node that is not reclaimed yet keeps nothing
  kNoSuperseded,            // a version that the head leaves behind unseen is not deleted
  kUnmarkedGranule,         // in place without a durable mark
  kSlabNamedLate,           // blocks of a slab are handed out before a superblock names it
  kPunchUnproven,           // space is given back as soon as a record frees it
  // When records are published.
  kStageBeforeData,      // records staged when the write is submitted
  kGroupInTurn,          // of several disks snapshotted together one comes behind the other
  kRollbackInTurn,       // … or rolled back together
  kSnapshotDoesNotWait,  // a snapshot is acknowledged with older writes in flight
  kEpochOfThePlan,       // what goes to fresh blocks is published in the epoch in which it was planned
  kLeafOfTwoEpochs,      // the first write of an epoch does not wait for a leaf's older ones
  kRacingReadFails,      // a mismatch is EIO at once
  // Commit.
  kJournalBeforeData,   // the journal is written without the data sync
  kJournalNotSynced,    // a commit returns before the journal's sync
  kReleaseBeforeBatch,  // staged records are released before their batch is written
  kEarlyCalledDurable,  // a batch is called durable though data of an early record is being written
  kEarlyDataUnsynced,   // a flush is content with the batch of an early record
  kEarlyWithoutSlot,    // early records take no slot in the staging file
  kEarlyNotAwaited,     // checkpoints and sweeps do not wait for early records
  kProvenWhenDurable,   // blocks count as proven without a durable batch that says so
  kVerbUncommitted,     // a verb's record does not wait for what it builds on
  kBaseLetGoEarly,      // the record that lets a base go does not wait for what was copied of it
  kReclaimUncommitted,  // a sweep builds on records that are not durable, and others build on it
  // Checkpoint.
  kMarkTakenLate,        // marks are cleared on disk without being taken in memory first
  kMarkClearedEarly,     // … and before the checkpoint is durable
  kPagesAheadOfJournal,  // bitmap and checksum pages are written without a commit behind their copy
  kMapAheadOfJournal,    // leaves are written without a commit behind their copy
  kAppliedFirst,         // the new start of redo is written before what it stands for
  kAppliedNotSynced,     // … without a sync
  kPagesNotSynced,       // … without a sync of the pages
  kTrimEarly,            // the ring is reused before the checkpoint is durable
  kNewestEpochLeft,      // versions of the newest epoch wait for the next checkpoint, their records don't
  kOldestFirst,          // a checkpoint writes a version before those that were made from it
  kPunchedInRound,       // what is punched while a checkpoint collects goes with it
  kDeletedEarly,         // deleted versions leave the map before the new start of redo
  // The copy of the metadata.
  kCopyNotSynced,         // a batch is given to the map before it is durable in the log
  kCopyBehindStart,       // the new start is in the log only after the ring was trimmed
  kCopySegmentUnnamed,    // a segment of the log is relied on before a superblock names it
  kCopyUnquiet,           // a base is captured while a batch is between log and map
  kCopySwitchedEarly,     // a superblock names a base that is not durable
  kCopyFreedEarly,        // the old base is freed before a superblock names the new one
  kCopyDroppedLate,       // … and a copy given up, before one forgets it
  kCopyRestoredUnsynced,  // a map is made anew of frames behind the mark as well
  kCopyNotKept,           // its blocks are not taken at the open
  kRedoFreesAtOnce,       // what redo frees may be handed out before recovery is complete
  // Recovery.
  kZeroesForgetBase,        // zeroes over a base leave holes as they are when they are redone
  kEpochNotNoted,           // the epoch counter does not go above what the journal names
  kSlotsNotSettled,         // in-flight slots are ignored
  kTailNotReplayed,         // the staging file's tail is ignored
  kTailNotJournaled,        // … or replayed, but not put into the journal before the restamp
  kRecoveryMapFirst,        // a recovery writes the map before the pages
  kRecoveryTrustsUnsynced,  // what redo read is checkpointed without a sync of it
  kSuperblocksTrusted,      // superblocks that were read are not written again before what follows from them
  kSyncFailsQuietly,        // a sync that fails and is no commit's leaves the staging file as it is
  kSuspectsClearedEarly,    // suspects are cleared before what was accepted is durable
  kMarksForgotten,          // after a power cut marks do not become suspects
  kNoWriteBack,             // after a failed sync what is read is trusted to stay
  kTailNotVerified,         // the journal's tail is taken without a look at the data
  kUnnamedEditLeftOut,      // with the name of a snapshot that lost a write goes its new parent
  kSnapshotOverLost,        // a snapshot stands though a write of its epoch was lost
  kLostFreesForgotten,      // what a lost write freed is not freed by the next one that stands
  kLostFreesAnywhere,       // … or by whoever replaces it, also where an older version goes on with it
  // Reclaim.
  kFenceUncommitted,       // a writer that took over begins before the fence of the old one is durable
  kSweepNotResumed,        // a sweep that was cut short waits its turn
  kReclaimedStaysCharged,  // what a sweep frees stays charged to its disk
  kAdmittedForgotten,      // a write under way keeps no place of its disk's quota
  kScheduleNotedFirst,     // a schedule notes that a snapshot was taken before it is
  kShorterOverHead,        // a sweep below a head looks only at what that wrote before it began
  kSettledEarly,           // a sweep commits nothing though the snapshot it looks at is not durable yet
  kSweptUnpinned,          // a fork's versions may leave memory between the record and its effect
  kPurgeBehindVerbs,       // a full pool's look into the trash waits for the verb under way
  kBookmarkHoldsNothing,   // a branch goes though a bookmark is on it
  kChangesFoldedEarly,     // masks move before it is durable that their point is gone
  kChangesFoldedFar,       // … past a point that is there
  kChangesFoldedAnyhow,    // … in any order
  kCursorApart,            // a step's cursor is journaled apart from what it frees
  kCutForgotten,           // a smaller size does not say that something is still to be cut off
  kCutNotFinished,         // … or that is not looked at when the store is opened
};

#ifdef COPPICE_MUTATIONS
inline constinit Mutation active_mutation = Mutation::kNone;
inline bool mutated(Mutation mutation) {
  return active_mutation == mutation;
}
#else
constexpr bool mutated(Mutation) {
  return false;
}
#endif

}  // namespace coppice
