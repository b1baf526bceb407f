"""`trilith member` and `trilith level`: who has the slots of the metadata's quorum, and what they all understand."""

from cluster.cli.passing import passed_on

member = passed_on("member", "List metadata members, replace one, or move the leader.", "metaraft.members")
level = passed_on("level", "Show the level of command meaning, or raise it after an upgrade.", "metaraft.members.level")
