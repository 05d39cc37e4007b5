"""What a scenario leaves behind: `report.json`, `index.html` with its plots, and a table on the terminal."""
