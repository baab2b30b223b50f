#include "mutations.h"

#include <array>

namespace coppice::sim {

namespace {

constexpr auto kAll = std::to_array<NamedMutation>({
    {Mutation::kNoQuarantine, "no-quarantine"},
    {Mutation::kQuarantineIgnoresReads, "quarantine-ignores-reads", "", true},
    {Mutation::kInPlaceUnproven, "in-place-unproven"},
    {Mutation::kInPlaceOlderBirth, "in-place-older-birth"},
    {Mutation::kStrictIgnored, "strict-ignored"},
    {Mutation::kDeadNodesDontCount, "dead-nodes-dont-count"},
    {Mutation::kNoSuperseded, "no-superseded"},
    {Mutation::kUnmarkedGranule, "unmarked-granule"},
    {Mutation::kSlabNamedLate, "slab-named-late", "--branch-every 40"},
    {Mutation::kPunchUnproven, "punch-unproven"},
    {Mutation::kStageBeforeData, "stage-before-data"},
    {Mutation::kGroupInTurn, "group-in-turn"},
    {Mutation::kSnapshotDoesNotWait, "snapshot-does-not-wait"},
    {Mutation::kEpochOfThePlan, "epoch-of-the-plan"},
    {Mutation::kLeafOfTwoEpochs, "leaf-of-two-epochs"},
    {Mutation::kRacingReadFails, "racing-read-fails"},
    {Mutation::kJournalBeforeData, "journal-before-data"},
    {Mutation::kJournalNotSynced, "journal-not-synced"},
    {Mutation::kReleaseBeforeBatch, "release-before-batch"},
    {Mutation::kEarlyCalledDurable, "early-called-durable"},
    {Mutation::kEarlyDataUnsynced, "early-data-unsynced", "", true},
    {Mutation::kEarlyWithoutSlot, "early-without-slot"},
    {Mutation::kEarlyNotAwaited, "early-not-awaited"},
    {Mutation::kProvenWhenDurable, "proven-when-durable"},
    {Mutation::kVerbUncommitted, "verb-uncommitted", "--branch-every 40", true},
    {Mutation::kBaseLetGoEarly, "base-let-go-early",
     "--favour flatten --kind power --branch-every 100 --seed 2", true},
    {Mutation::kReclaimUncommitted, "reclaim-uncommitted"},
    {Mutation::kMarkTakenLate, "mark-taken-late", "", true},
    {Mutation::kMarkClearedEarly, "mark-cleared-early", "--scene marks"},
    {Mutation::kPagesAheadOfJournal, "pages-ahead-of-journal"},
    {Mutation::kMapAheadOfJournal, "map-ahead-of-journal", "", true},
    {Mutation::kAppliedFirst, "applied-first"},
    {Mutation::kAppliedNotSynced, "applied-not-synced"},
    {Mutation::kPagesNotSynced, "pages-not-synced", "", true},
    {Mutation::kTrimEarly, "trim-early", "", true},
    {Mutation::kDeletedEarly, "deleted-early"},
    {Mutation::kCopyNotSynced, "copy-not-synced", "", true},
    {Mutation::kCopyBehindStart, "copy-behind-start"},
    {Mutation::kCopySegmentUnnamed, "copy-segment-unnamed", "--branch-every 40", true},
    {Mutation::kCopyUnquiet, "copy-unquiet"},
    {Mutation::kCopySwitchedEarly, "copy-switched-early", "", true},
    {Mutation::kCopyFreedEarly, "copy-freed-early", "--branch-every 40", true},
    {Mutation::kCopyDroppedLate, "copy-dropped-late"},
    {Mutation::kCopyTrustsUnsynced, "copy-trusts-unsynced", "--faults --branch-every 40", true},
    {Mutation::kCopyRestoredUnsynced, "copy-restored-unsynced", "--branch-every 60", true},
    {Mutation::kCopyNotKept, "copy-not-kept"},
    {Mutation::kRedoFreesAtOnce, "redo-frees-at-once", "--scene redo"},
    {Mutation::kZeroesForgetBase, "zeroes-forget-base"},
    {Mutation::kEpochNotNoted, "epoch-not-noted"},
    {Mutation::kSlotsNotSettled, "slots-not-settled"},
    {Mutation::kTailNotReplayed, "tail-not-replayed"},
    {Mutation::kTailNotJournaled, "tail-not-journaled", "", true},
    {Mutation::kRecoveryMapFirst, "recovery-map-first", "--branch-every 40", true},
    {Mutation::kRecoveryTrustsUnsynced, "recovery-trusts-unsynced", "--scene unsynced"},
    {Mutation::kSuperblocksTrusted, "superblocks-trusted", "--scene superblocks --kind power"},
    {Mutation::kRecoveryFailsQuietly, "recovery-fails-quietly", "--faults --branch-every 60", true},
    {Mutation::kSuspectsClearedEarly, "suspects-cleared-early", "--scene suspects --kind power"},
    {Mutation::kMarksForgotten, "marks-forgotten"},
    {Mutation::kNoWriteBack, "no-write-back", "--faults"},
    {Mutation::kTailNotVerified, "tail-not-verified"},
    {Mutation::kUnnamedEditLeftOut, "unnamed-edit-left-out", "--scene unnamed"},
    {Mutation::kSnapshotOverLost, "snapshot-over-lost", "--branch-every 40", true},
    {Mutation::kLostFreesForgotten, "lost-frees-forgotten"},
    {Mutation::kLostFreesAnywhere, "lost-frees-anywhere", "--branch-every 40", true},
    {Mutation::kSweepNotResumed, "sweep-not-resumed", "--scene sweep"},
    {Mutation::kReclaimedStaysCharged, "reclaimed-stays-charged"},
    {Mutation::kAdmittedForgotten, "admitted-forgotten"},
    {Mutation::kScheduleNotedFirst, "schedule-noted-first", "", true},
    {Mutation::kSettledEarly, "settled-early", "--scene settled"},
    {Mutation::kSweptUnpinned, "swept-unpinned", "--branch-every 40", true},
    {Mutation::kPurgeBehindVerbs, "purge-behind-verbs"},
    {Mutation::kFenceUncommitted, "fence-uncommitted", "--attachments", true},
    {Mutation::kBookmarkHoldsNothing, "bookmark-holds-nothing"},
    {Mutation::kCursorApart, "cursor-apart"},
});

}  // namespace

std::span<const NamedMutation> all_mutations() {
  return kAll;
}

}  // namespace coppice::sim
