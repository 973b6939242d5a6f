"""What a run is on disk: its folder, its checkpoints, its weights and its score."""

from vocseg.model.description import newest_score
from vocseg.runs.agreement import check_classes, check_shape, described_classes, network_shape
from vocseg.runs.alarm import Alarm
from vocseg.runs.announcement import Announcement
from vocseg.runs.averaging import Averaging
from vocseg.runs.best import BestWeights
from vocseg.runs.checkpoint_files import WholeCheckpoints, with_whole_checkpoints
from vocseg.runs.checkpoints import LastCheckpoint
from vocseg.runs.companions import Companions
from vocseg.runs.faults import translate
from vocseg.runs.finite import Finite
from vocseg.runs.folder import newest_checkpoint, newest_weights
from vocseg.runs.full_size import FullSize
from vocseg.runs.full_size_counts import FullSizeScores
from vocseg.runs.going_on import holds_training, newest_whole_checkpoint, read_checkpoint
from vocseg.runs.left_out import LeftOutReport
from vocseg.runs.logs import quieten, run_loggers
from vocseg.runs.network_scores import NetworkScores, network_scores, newest_image_scores
from vocseg.runs.origin import weights_origin
from vocseg.runs.ownership import OwnFolder
from vocseg.runs.refusals import check_callbacks, check_flags, check_monitor
from vocseg.runs.resumption import Resumed, find_resumed, newest_run
from vocseg.runs.speed import Speed
from vocseg.runs.transfer import Pretrained, read_pretrained, transfer
from vocseg.runs.tta import TTA
from vocseg.runs.tuning import Wanted, find_batch_size, find_learning_rate
from vocseg.runs.weights import load_network, load_weights, read_weights

__all__ = [
    "TTA",
    "Alarm",
    "Announcement",
    "Averaging",
    "BestWeights",
    "Companions",
    "Finite",
    "FullSize",
    "FullSizeScores",
    "LastCheckpoint",
    "LeftOutReport",
    "NetworkScores",
    "OwnFolder",
    "Pretrained",
    "Resumed",
    "Speed",
    "Wanted",
    "WholeCheckpoints",
    "check_callbacks",
    "check_classes",
    "check_flags",
    "check_monitor",
    "check_shape",
    "described_classes",
    "find_batch_size",
    "find_learning_rate",
    "find_resumed",
    "holds_training",
    "load_network",
    "load_weights",
    "network_scores",
    "network_shape",
    "newest_checkpoint",
    "newest_image_scores",
    "newest_run",
    "newest_score",
    "newest_weights",
    "newest_whole_checkpoint",
    "quieten",
    "read_checkpoint",
    "read_pretrained",
    "read_weights",
    "run_loggers",
    "transfer",
    "translate",
    "weights_origin",
    "with_whole_checkpoints",
]
