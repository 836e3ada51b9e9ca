"""What a fake judge server was asked, and what became of the answers."""


def statuses(rows):
    return {row["status"] for found in rows.values() for row in found}


def ids(server):
    return [asked.id for asked in server.asked if not asked.id.startswith("probe")]
