#include "mutations.h"

#include <array>

namespace coppice::sim {

namespace {

constexpr auto kAll = std::to_array<NamedMutation>({
    {Mutation::kNoQuarantine, "no-quarantine"},
    {Mutation::kQuarantineIgnoresReads, "quarantine-ignores-reads", "--scene reader"},
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
    {Mutation::kEarlyDataUnsynced, "early-data-unsynced", "--scene early"},
    {Mutation::kEarlyWithoutSlot, "early-without-slot"},
    {Mutation::kEarlyNotAwaited, "early-not-awaited"},
    {Mutation::kProvenWhenDurable, "proven-when-durable"},
    {Mutation::kVerbUncommitted, "verb-uncommitted", "--scene kept"},
    {Mutation::kBaseLetGoEarly, "base-let-go-early", "--scene flatten"},
    {Mutation::kReclaimUncommitted, "reclaim-uncommitted"},
    {Mutation::kMarkTakenLate, "mark-taken-late", "--scene retaken"},
    {Mutation::kMarkClearedEarly, "mark-cleared-early", "--scene marks"},
    {Mutation::kPagesAheadOfJournal, "pages-ahead-of-journal"},
    {Mutation::kMapAheadOfJournal, "map-ahead-of-journal", "--scene collected"},
    {Mutation::kAppliedFirst, "applied-first"},
    {Mutation::kAppliedNotSynced, "applied-not-synced"},
    {Mutation::kPagesNotSynced, "pages-not-synced", "--scene uncopied"},
    {Mutation::kTrimEarly, "trim-early", "--scene ring"},
    {Mutation::kDeletedEarly, "deleted-early", "--scene deleted"},
    {Mutation::kCopyNotSynced, "copy-not-synced", "--scene trimmed"},
    {Mutation::kCopyBehindStart, "copy-behind-start"},
    {Mutation::kCopySegmentUnnamed, "copy-segment-unnamed", "--scene trimmed"},
    {Mutation::kCopyUnquiet, "copy-unquiet"},
    {Mutation::kCopySwitchedEarly, "copy-switched-early", "--scene base"},
    {Mutation::kCopyFreedEarly, "copy-freed-early", "--scene base"},
    {Mutation::kCopyDroppedLate, "copy-dropped-late"},
    {Mutation::kCopyRestoredUnsynced, "copy-restored-unsynced", "--scene restored"},
    {Mutation::kCopyNotKept, "copy-not-kept"},
    {Mutation::kRedoFreesAtOnce, "redo-frees-at-once", "--scene redo"},
    {Mutation::kZeroesForgetBase, "zeroes-forget-base"},
    {Mutation::kEpochNotNoted, "epoch-not-noted"},
    {Mutation::kSlotsNotSettled, "slots-not-settled"},
    {Mutation::kTailNotReplayed, "tail-not-replayed"},
    {Mutation::kTailNotJournaled, "tail-not-journaled", "--scene tail"},
    {Mutation::kRecoveryMapFirst, "recovery-map-first", "--scene partial"},
    {Mutation::kRecoveryTrustsUnsynced, "recovery-trusts-unsynced", "--scene unsynced"},
    {Mutation::kSuperblocksTrusted, "superblocks-trusted", "--scene superblocks --kind power"},
    {Mutation::kSyncFailsQuietly, "sync-fails-quietly", "--scene untold"},
    {Mutation::kSuspectsClearedEarly, "suspects-cleared-early", "--scene suspects --kind power"},
    {Mutation::kMarksForgotten, "marks-forgotten"},
    {Mutation::kNoWriteBack, "no-write-back", "--scene unwritten"},
    {Mutation::kTailNotVerified, "tail-not-verified"},
    {Mutation::kUnnamedEditLeftOut, "unnamed-edit-left-out", "--scene unnamed"},
    {Mutation::kSnapshotOverLost, "snapshot-over-lost", "--scene unnamed"},
    {Mutation::kLostFreesForgotten, "lost-frees-forgotten"},
    {Mutation::kLostFreesAnywhere, "lost-frees-anywhere", "--scene replaced"},
    {Mutation::kSweepNotResumed, "sweep-not-resumed", "--scene sweep"},
    {Mutation::kReclaimedStaysCharged, "reclaimed-stays-charged"},
    {Mutation::kAdmittedForgotten, "admitted-forgotten", "--scene quota"},
    {Mutation::kScheduleNotedFirst, "schedule-noted-first", "--scene schedule"},
    {Mutation::kShorterOverHead, "shorter-over-head", "--scene overtaken"},
    {Mutation::kSettledEarly, "settled-early", "--scene settled"},
    {Mutation::kSweptUnpinned, "swept-unpinned", "--scene fork"},
    {Mutation::kPurgeBehindVerbs, "purge-behind-verbs"},
    {Mutation::kFenceUncommitted, "fence-uncommitted", "--scene fence"},
    {Mutation::kBookmarkHoldsNothing, "bookmark-holds-nothing", "--scene bookmark"},
    {Mutation::kCursorApart, "cursor-apart"},
});

}  // namespace

std::span<const NamedMutation> all_mutations() {
  return kAll;
}

}  // namespace coppice::sim
