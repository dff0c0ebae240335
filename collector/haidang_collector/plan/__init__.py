"""The plan's figures: how far each site, level and the province meet the plan's targets, by live evidence."""
